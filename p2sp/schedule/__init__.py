"""Who fetches which bytes. Pure."""
