"""The tracker: who takes part in a swarm, nearest first."""
