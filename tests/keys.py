"""Files of keys for tests, as `gateway keys` writes them."""

from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.settings import Settings
from gateway.traffic.key_file import HashEntry, KeyEntry, KeyFile
from gateway.traffic.keys import hash_of, new_key


def add_key(path: Path, key_id: str = "alice", **fields: Any) -> str:
    """Add a key to the file, with fields as the file has them; return it."""
    file, key = KeyFile(path), new_key(key_id)
    until: datetime | None = fields.pop("until", None)
    with file.changing() as entries:
        hashed = HashEntry(hash=hash_of(key, file.make_secret()), until=until)
        entries.append(KeyEntry.model_validate({"id": key_id, "hashes": [hashed], **fields}))
    return key


def keyed(path: Path, **settings: Any) -> Settings:
    """Return the settings of a gateway that needs the keys of a file."""
    return Settings(keys_file=path, **settings)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
