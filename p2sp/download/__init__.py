"""The conductor: sources, scheduler and storage make a verified file."""
