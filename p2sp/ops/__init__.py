"""Configuration, databases and the lifecycle every service shares."""
