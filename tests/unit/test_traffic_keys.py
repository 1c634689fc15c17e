"""Keys: what is kept of them, when they end, and the file they are in."""

import math
import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest

from gateway.traffic.caller import Caller
from gateway.traffic.key_file import KeyFile, KeyFileError
from gateway.traffic.keys import Hashed, Holder, KeyRing, hash_of, new_id, new_key
from tests.keys import add_key

SECRET = b"s" * 32


def ring(key: str, until: float = math.inf, **caller: float) -> KeyRing:
    """Return a ring that knows one key, of `alice`."""
    held = Hashed(hash_of(key, SECRET), until)
    return KeyRing([Holder(Caller("alice", **caller), (held,))], SECRET)  # type: ignore[arg-type]


def test_a_key_is_known_by_its_hash() -> None:
    key = new_key("alice")

    found = ring(key).find(key, now=0)

    assert found is not None
    assert found.key == "alice"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="nothing"),
        pytest.param("sk-gw-alice-", id="no-secret"),
        pytest.param("sk-gw-bob-{secret}", id="of-another-id"),
        pytest.param("sk-gw-alice-{secret}x", id="more"),
        pytest.param("alice-{secret}", id="less"),
        pytest.param("sk-gw-alice-{other}", id="another-secret"),
        pytest.param("sk-gw-älice-\ud800".encode("utf-8", "replace").decode(), id="no-ascii"),
    ],
)
def test_what_is_not_the_key_is_not_known(given: str) -> None:
    key = new_key("alice")
    secret, other = key.split("-", 3)[3], new_key("alice").split("-", 3)[3]

    found = ring(key).find(given.format(secret=secret, other=other), now=0)

    assert found is None


@pytest.mark.parametrize(
    "ends", [{"until": 10.0}, {"expires_at": 10.0}], ids=["replaced", "expired"]
)
def test_a_key_ends_when_its_time_is_over(ends: dict[str, float]) -> None:
    key = new_key("alice")
    known = ring(key, **ends)

    assert known.find(key, now=9.9)
    assert known.find(key, now=10) is None


def test_a_hash_is_of_no_use_with_another_secret() -> None:
    key = new_key("alice")

    assert hash_of(key, SECRET) != hash_of(key, b"t" * 32)


def test_keys_do_not_repeat() -> None:
    keys = {new_key(new_id()) for _ in range(1000)}

    assert len(keys) == 1000
    assert min(map(len, keys)) >= len("sk-gw-") + 10 + 1 + 43


def test_the_file_holds_no_key_and_its_secret_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"

    key = add_key(path, name="laptop", limits={"requests_per_minute": 3})

    file = KeyFile(path)
    assert key not in path.read_text()
    assert key.split("-", 3)[3] not in path.read_text()
    assert stat.S_IMODE(file.secret_path.stat().st_mode) == 0o600
    found = file.ring().find(key, now=0)
    assert found is not None
    assert found.limits.requests_per_minute == 3


def test_a_key_that_is_replaced_goes_on_until_its_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"

    key = add_key(path, until=datetime.fromtimestamp(50, timezone.utc))

    assert KeyFile(path).ring().find(key, now=49)
    assert KeyFile(path).ring().find(key, now=50) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("keys: [{id: a}]", "keys.0.hashes", id="no-hash"),
        pytest.param("keys: [{id: a, hashes: [{hash: secret}]}]", "pattern", id="no-hexadecimal"),
        pytest.param("keys: [", "in line 2", id="no-yaml"),
        pytest.param("keys: 3", "keys", id="no-list"),
        pytest.param("x: 1", "x", id="unknown"),
        pytest.param("[" * 5000, "cannot be read", id="deep"),
    ],
)
def test_a_file_that_is_wrong_is_told_without_what_it_holds(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)

    with pytest.raises(KeyFileError, match=told) as caught:
        KeyFile(path).ring()

    assert "secret" not in str(caught.value).replace(".secret", "")


def test_without_its_secret_a_file_of_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    add_key(path)
    os.remove(f"{path}.secret")

    with pytest.raises(KeyFileError, match="belongs beside it"):
        KeyFile(path).ring()


def test_two_keys_of_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    add_key(path)
    add_key(path)

    with pytest.raises(KeyFileError, match="same id"):
        KeyFile(path).ring()
