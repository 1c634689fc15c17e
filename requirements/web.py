"""Takes the page's libraries out of their npm packages, as web.json lists them.

Writes gateway/web/static/vendor, and web.lock with the digest of each package and file. With a
lock there, another package of the same version is refused.
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VENDOR = HERE.parent / "gateway/web/static/vendor"
LOCK = HERE / "web.lock"
# Points at a file that is not taken along; browsers would ask for it.
SOURCE_MAP = re.compile(rb"\n?(//|/\*)# sourceMappingURL=\S+( \*/)?\s*$")


def packed(package: str) -> bytes:
    """Return a package's tarball, as npm has it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", package, "--silent", f"--pack-destination={folder}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return next(Path(folder).iterdir()).read_bytes()


def taken(tarball: bytes, name: str) -> bytes:
    """Return a file of a package."""
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        member = archive.extractfile(f"package/{name}")
        assert member, name
        return SOURCE_MAP.sub(b"\n", member.read())


def main() -> None:
    """Write the folder and the lock."""
    locked = json.loads(LOCK.read_text()) if LOCK.exists() else {}
    digests = {}
    VENDOR.mkdir(parents=True, exist_ok=True)
    for entry in json.loads((HERE / "web.json").read_text()):
        package = entry["package"]
        tarball = packed(package)
        digests[package] = hashlib.sha256(tarball).hexdigest()
        if locked.get(package, digests[package]) != digests[package]:
            sys.exit(f"{package} is not what web.lock says it was")
        for name, target in entry["files"].items():
            content = taken(tarball, name)
            (VENDOR / target).write_bytes(content)
            digests[target] = hashlib.sha256(content).hexdigest()
    LOCK.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main()
