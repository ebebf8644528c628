"""Everything that delivers bytes of one resource to this node."""
