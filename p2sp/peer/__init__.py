"""The peer daemon: seeds what was downloaded or published."""
