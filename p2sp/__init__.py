"""A P2SP download network: one file from HTTP servers, peers and super nodes at once."""
