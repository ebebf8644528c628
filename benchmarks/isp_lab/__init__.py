"""A small internet in network namespaces: ISPs, hosts, an origin, and programs that download there side by side."""
