"""When to say again why something does not serve. Pure."""

FIRST_REMINDER_S = 5.0
LONGEST_REMINDER_S = 60.0


class Reminder:
    """Decides when to say again why something does not serve: first at once, then less often."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._pause_s = FIRST_REMINDER_S
        self._due_at = 0.0

    def is_due(self, reason: str, now: float) -> bool:
        """Tell whether to say it: it is news, or was not said for a while that grows."""
        is_news = reason not in self._told
        if not is_news and now < self._due_at:
            return False
        if not is_news:
            self._pause_s = min(2 * self._pause_s, LONGEST_REMINDER_S)
        self._told.add(reason)
        self._due_at = now + self._pause_s
        return True

    def forget(self) -> None:
        """Take the next reason for news."""
        self._told.clear()
        self._pause_s = FIRST_REMINDER_S
