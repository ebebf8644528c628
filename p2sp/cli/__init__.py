"""The p2sp command."""
