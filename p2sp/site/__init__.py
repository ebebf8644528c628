"""A whole network in one process, and the files that make one."""
