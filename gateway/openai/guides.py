"""Which grammar, if any, a request binds its answer to. One source at a time."""
