"""A stand-in for the Hugging Face hub on the loopback interface: one model, and its moods."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGE = ".safetensors"


@dataclass
class Hub:
    """What the hub serves, how it behaves, and what it was asked."""

    model: str
    revision: str
    folder: Path
    mood: str = "well"  # well, gated, missing, corrupt, corrupt once, stalling, down
    ranges: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def siblings(self) -> list[dict[str, Any]]:
        """The files as the hub's API lists them."""
        return [
            {
                "rfilename": path.relative_to(self.folder).as_posix(),
                "size": path.stat().st_size,
                "blobId": self.etag(path),
                **(
                    {
                        "lfs": {
                            "sha256": self.etag(path),
                            "size": path.stat().st_size,
                            "pointerSize": 134,
                        }
                    }
                    if path.suffix == LARGE
                    else {}
                ),
            }
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        ]

    def etag(self, path: Path) -> str:
        """SHA-256 of large files, git's blob id of small ones."""
        content = path.read_bytes()
        if path.suffix == LARGE:
            return hashlib.sha256(content).hexdigest()
        head = f"blob {len(content)}\0".encode()
        return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub until the block ends."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.mood = "down"
        hub.stalled.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        hub = self.served
        hub.authorizations.add(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0].strip("/")
        if hub.mood in _REFUSALS:
            self._refuse(*_REFUSALS[hub.mood])
        elif path == f"api/models/{hub.model}/revision/{hub.revision}":
            content = {"id": hub.model, "sha": hub.revision, "siblings": hub.siblings()}
            self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"api/models/{hub.model}/tree/{hub.revision}"):
            tree = json.dumps([_entry(file) for file in hub.siblings()]).encode()
            self._send(200, tree, {"Content-Type": "application/json"})
        elif path.startswith(f"{hub.model}/resolve/{hub.revision}/"):
            self._file(path.split("/", 4)[4], with_body)
        else:
            self._refuse(404, "RevisionNotFound")

    def _file(self, name: str, with_body: bool) -> None:
        hub, path = self.served, self.served.folder / name
        if not path.is_file():
            self._refuse(404, "EntryNotFound")
            return
        content = path.read_bytes()
        etag = hub.etag(path)
        headers = {
            "ETag": f'"{etag}"', "X-Repo-Commit": hub.revision, "Accept-Ranges": "bytes",
            "X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content)),
        }  # fmt: skip
        if not with_body:
            self._send(200, content, headers, with_body=False)
            return
        hub.fetched.append(name)
        if hub.mood.startswith("corrupt") and path.suffix == LARGE:
            content = content[:-1] + bytes([content[-1] ^ 1])
            hub.mood = "well" if hub.mood == "corrupt once" else hub.mood
        start = 0
        if wanted := self.headers.get("Range", ""):
            hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if wanted else 200, content[start:], headers, stalls=path.suffix == LARGE)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str],
        *,
        with_body: bool = True,
        stalls: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body or self.command == "HEAD":
            return
        if stalls and self.served.mood == "stalling":
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.served.stalled.wait(60)
            self.close_connection = True
            return
        self.wfile.write(content)


def _entry(sibling: dict[str, Any]) -> dict[str, object]:
    """A file as the hub's listing of folders has it."""
    large = sibling.get("lfs")
    return {
        "type": "file",
        "path": sibling["rfilename"],
        "size": sibling["size"],
        "oid": sibling["blobId"],
        **({"lfs": {**large, "oid": large["sha256"]}} if large else {}),
    }


_REFUSALS = {
    "gated": (403, "GatedRepo"),
    "missing": (404, "RepoNotFound"),
    "down": (503, "Down"),
}
