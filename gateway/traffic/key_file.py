"""keys.yaml, and the secret beside it: read by those who serve, changed by `gateway keys`."""

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_bytes
from tempfile import NamedTemporaryFile

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.traffic.caller import Caller, Limits, Priority
from gateway.traffic.keys import Hashed, Holder, KeyRing

SECRET_BYTES = 32
MAX_FILE_BYTES = 64 * 2**20
Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper: type = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class KeyFileError(Exception):
    """The file of keys, or its secret, cannot be used; the message says why."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HashEntry(_Entry):
    """What is kept of one key."""

    hash: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    until: datetime | None = None


class LimitsEntry(_Entry):
    """What a key may ask for."""

    requests_per_minute: int | None = Field(None, ge=0)
    tokens_per_minute: int | None = Field(None, ge=0)
    concurrent_requests: int | None = Field(None, ge=0)


class KeyEntry(_Entry):
    """One key's holder, as the file has it."""

    id: str = Field(pattern="^[a-z0-9]{1,64}$")
    name: str = Field("", max_length=256)
    tenant: str = Field("", max_length=256)
    created: datetime | None = None
    expires: datetime | None = None
    models: tuple[str, ...] | None = None
    priority: Priority = Field(Priority.INTERACTIVE, alias="class")
    admin: bool = False
    limits: LimitsEntry = LimitsEntry()
    hashes: tuple[HashEntry, ...] = Field(min_length=1)

    def holder(self) -> Holder:
        """Return what serving needs of it."""
        caller = Caller(
            key=self.id,
            name=self.name,
            tenant=self.tenant,
            models=None if self.models is None else frozenset(self.models),
            priority=self.priority,
            limits=Limits(**self.limits.model_dump()),
            is_admin=self.admin,
            expires_at=_seconds(self.expires),
        )
        return Holder(caller, tuple(Hashed(one.hash, _seconds(one.until)) for one in self.hashes))


class _File(_Entry):
    keys: tuple[KeyEntry, ...] = ()


class KeyFile:
    """A file of keys. Its secret is in `secret_path`, by default the same name with `.secret`."""

    def __init__(self, path: Path, secret_path: Path | None = None) -> None:
        self.path = path
        self.secret_path = secret_path or path.with_name(f"{path.name}.secret")

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when a file does, () while there is none."""
        try:
            states = [path.stat() for path in (self.path, self.secret_path)]
        except OSError:
            return ()
        return tuple(n for s in states for n in (s.st_mtime_ns, s.st_size, s.st_ino))

    def entries(self) -> tuple[KeyEntry, ...]:
        """Return the keys; none where there is no file. Raises KeyFileError."""
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                raise KeyFileError(f"{self.path} is larger than {MAX_FILE_BYTES} bytes")
            given = yaml.load(self.path.read_bytes(), Loader)
            entries = _File.model_validate(given or {}).keys
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            raise KeyFileError(f"{self.path}: {_first(error)}") from None
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise KeyFileError(f"{self.path} cannot be read: {_bare(error)}") from None
        if len({entry.id for entry in entries}) < len(entries):
            raise KeyFileError(f"{self.path}: two keys have the same id")
        return entries

    def ring(self) -> KeyRing:
        """Return the keys as those who serve need them. Raises KeyFileError."""
        entries = self.entries()
        if not entries:
            return KeyRing()
        return KeyRing([entry.holder() for entry in entries], self.secret())

    def secret(self) -> bytes:
        """Return what hashes are keyed with. Raises KeyFileError."""
        try:
            secret = self.secret_path.read_bytes()
        except OSError as error:
            raise KeyFileError(
                f"{self.secret_path} cannot be read ({error.strerror}): it is what makes the "
                f"hashes in {self.path} keys again, and belongs beside it"
            ) from None
        if len(secret) < SECRET_BYTES:
            raise KeyFileError(f"{self.secret_path} has less than {SECRET_BYTES} bytes")
        return secret

    def make_secret(self) -> bytes:
        """Return the secret, a new one in a file of the owner's alone where there is none yet."""
        if not self.secret_path.exists():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            try:
                file = os.open(self.secret_path, flags, 0o600)
            except OSError as error:
                raise KeyFileError(f"{self.secret_path}: {error.strerror}") from None
            with os.fdopen(file, "wb") as opened:
                opened.write(token_bytes(SECRET_BYTES))
        return self.secret()

    @contextmanager
    def changing(self) -> Iterator[list[KeyEntry]]:
        """Yield the keys to change; at the end the file holds them. One change at a time."""
        try:
            lock = os.open(
                self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600
            )
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = list(self.entries())
            yield entries
            self._write(entries)
        finally:
            os.close(lock)

    def _write(self, entries: list[KeyEntry]) -> None:
        """Replace the file as a whole, so that nobody reads half of it."""
        kept = [
            entry.model_dump(mode="json", by_alias=True, exclude_defaults=True) for entry in entries
        ]
        text = yaml.dump({"keys": kept}, Dumper=Dumper, sort_keys=False)
        try:
            with NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                os.chmod(file.name, self.path.stat().st_mode & 0o777)
            os.replace(file.name, self.path)
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror}") from None


def _seconds(moment: datetime | None) -> float:
    if moment is None:
        return math.inf
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _bare(error: Exception) -> str:
    """Return what went wrong, and where, without what stands there."""
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}" if mark else ""
    return (getattr(error, "strerror", None) or type(error).__name__) + where
