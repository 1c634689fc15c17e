"""Tool calls: how a caller chooses them, how a model writes them."""
