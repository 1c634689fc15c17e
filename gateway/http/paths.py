"""Paths as clients write them: with a slash too many."""

import re

from starlette.types import Scope

SLASHES = re.compile("/{2,}")


def tidied(scope: Scope) -> bool:
    """Take slashes off a request's path that are doubled or at its end; tell whether any were."""
    path: str = scope["path"]
    if "//" not in path and not path.endswith("/"):
        return False
    scope["path"] = tidy = SLASHES.sub("/", path).rstrip("/") or "/"
    scope["raw_path"] = tidy.encode()
    return tidy != path
