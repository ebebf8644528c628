"""Where the bytes of a resource are kept while they arrive and while they are served."""
