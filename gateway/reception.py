"""Where every request of every face comes in: whose it is, and that it is being answered."""

from dataclasses import dataclass, field

from gateway.access import Access
from gateway.settings import Settings
from gateway.under_way import UnderWay


@dataclass(frozen=True, slots=True)
class Reception:
    """What both exchanges share."""

    access: Access
    under_way: UnderWay = field(default_factory=UnderWay)

    @classmethod
    def of(cls, settings: Settings) -> "Reception":
        """Return the reception that settings ask for. Raises SettingsError."""
        return cls(Access(settings))
