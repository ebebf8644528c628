"""The super node management server: what is hot and slow, and who shall hold it."""
