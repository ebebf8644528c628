"""How would thousands fetch one file? Swarms in virtual time, with the scheduler and selection of the product."""
