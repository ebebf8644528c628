"""The resource index: what a URL, a digest or an id is, and which servers carry it."""
