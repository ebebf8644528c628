"""Where an address is, and what it costs to reach it. Pure."""
