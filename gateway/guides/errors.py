"""Why a guide cannot be given to an engine."""


class Unenforceable(Exception):
    """No engine can be held to this; the message says what of it, and where."""
