"""Why a guide cannot be given to an engine."""


class Unenforceable(Exception):
    """No engine can be held to this; the message says what of it, and where.

    `within` is the outermost reference on the way there, empty where the whole is at fault.
    """

    def __init__(self, reason: str, within: str = "") -> None:
        super().__init__(reason, within)
        self.reason = reason
        self.within = within

    def __str__(self) -> str:
        return self.reason


class TooLarge(Unenforceable):
    """All of it together is more than is compiled: no part alone is at fault."""
