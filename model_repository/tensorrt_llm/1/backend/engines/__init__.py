"""What generates tokens, each kind of engine in a package of its own behind `backend.engine`."""
