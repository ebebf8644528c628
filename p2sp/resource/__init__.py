"""What is downloaded: hashes, descriptors, names and layouts. Pure."""
