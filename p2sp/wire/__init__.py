"""The peer protocol between nodes: BitTorrent messages inside TLS."""
