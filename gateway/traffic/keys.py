"""Keys: how they look, what is kept of them, whose they are. Knows no file and no clock.

Of a key only a hash is kept, which is keyed with a secret that is kept elsewhere: who reads the
hashes alone can neither use them nor try guesses at them.
"""

import hmac
import math
from collections.abc import Iterable
from secrets import choice, token_urlsafe
from string import ascii_lowercase, digits

import msgspec

from gateway.traffic.caller import Caller

PREFIX = "sk-gw-"
ID_CHARS = ascii_lowercase + digits
ID_LENGTH = 10
SECRET_BYTES = 32
MAX_KEY_CHARS = 8192
"""A bearer token may be a JWT, and long."""


class Hashed(msgspec.Struct, frozen=True):
    """What is kept of a key; `until` is when it ends, in Unix seconds."""

    hash: str
    until: float = math.inf


class Holder(msgspec.Struct, frozen=True):
    """A caller and the keys by which it is known: two while one replaces the other."""

    caller: Caller
    hashes: tuple[Hashed, ...]


def new_id() -> str:
    """Return an id for a key."""
    return "".join(choice(ID_CHARS) for _ in range(ID_LENGTH))


def new_key(key_id: str) -> str:
    """Return a key of 256 random bits that names its id."""
    return f"{PREFIX}{key_id}-{token_urlsafe(SECRET_BYTES)}"


def hash_of(key: str, secret: bytes) -> str:
    """Return what to keep of a key: HMAC-SHA256 in hexadecimal."""
    return hmac.digest(secret, key.encode(), "sha256").hex()


class KeyRing:
    """The keys that are known."""

    def __init__(self, holders: Iterable[Holder] = (), secret: bytes = b"") -> None:
        self._holders = {holder.caller.key: holder for holder in holders}
        self._secret = secret

    def __len__(self) -> int:
        return len(self._holders)

    def find(self, key: str, now: float) -> Caller | None:
        """Return whose key this is, None for one that is unknown or has expired.

        Takes as long for a key that is nearly right as for one that is not at all.
        """
        holder = self._holders.get(_id_in(key))
        hashed = hash_of(key, self._secret)
        is_right = False
        for known in holder.hashes if holder else _NONE:
            is_right |= hmac.compare_digest(known.hash, hashed) and now < known.until
        if holder and is_right and now < holder.caller.expires_at:
            return holder.caller
        return None


_NONE = (Hashed("0" * 64),)


def is_key(given: str) -> bool:
    """Tell whether a credential looks like one of our keys."""
    return given.startswith(PREFIX)


def _id_in(key: str) -> str:
    return key.removeprefix(PREFIX).partition("-")[0]
