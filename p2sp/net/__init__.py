"""Node identity, trust, endpoints, the JSON API and its client."""
