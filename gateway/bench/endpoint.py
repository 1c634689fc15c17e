"""The endpoint under test, over aiohttp. Takes times and bytes; reads them only where it must."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp
import orjson
from yarl import URL

from gateway.bench.errors import BenchError
from gateway.bench.recording import Answer, Recording, error_message, read

CONNECT_TIMEOUT_S = 10
SILENCE_TIMEOUT_S = 300


class Endpoint:
    """One OpenAI-compatible API; `url` ends where `/chat/completions` begins."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key_name: str) -> None:
        self.url = url
        self._session = session
        self._key_name = key_name

    async def models(self) -> list[str]:
        """Return the ids of the models it says it serves.

        Raises BenchError if there is no such list, or nobody to ask.
        """
        try:
            async with self._session.get(f"{self.url}/models") as response:
                status, body = response.status, await response.read()
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise BenchError(
                f"nothing answers at {self.url} ({error}). Is it running, and is this its address?"
            ) from error
        self._check_key(status, error_message(body))
        try:
            return [str(model["id"]) for model in orjson.loads(body)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise BenchError(
                f"{self.url}/models is no list of models (status {status}). Give the URL up to and "
                "with its version, as in http://127.0.0.1:8080/v1"
            ) from error

    async def try_out(self, body: bytes) -> Answer:
        """Return the answer to a first request; raise BenchError if there is none."""
        recording = Recording()
        status = await self.ask(body, recording)
        outcome = read(recording)
        if isinstance(outcome, Answer):
            return outcome
        self._check_key(status, outcome.reason)
        if status == 404:
            served = ", ".join(await self.models())
            raise BenchError(f"{self.url} knows no such model; it serves {served}")
        raise BenchError(f"{self.url} does not answer a first question: {outcome.reason}")

    async def ask(self, body: bytes, recording: Recording) -> int:
        """Send a request, record what comes, and return the status; 0 where there was none."""
        status = 0
        recording.sent_at = perf_counter()
        try:
            async with self._session.post(f"{self.url}/chat/completions", data=body) as response:
                status = response.status
                if status == 200:
                    async for data in response.content.iter_any():
                        recording.chunks.append((perf_counter(), data))
                else:
                    reason = error_message(await response.read())
                    recording.failure = f"status {status}: {reason}"
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            recording.failure = f"{type(error).__name__}: {error}".rstrip(": ")
        recording.is_done = True
        return status

    def _check_key(self, status: int, reason: str) -> None:
        if status in (401, 403):
            has_key = "Authorization" in self._session.headers
            fault = "refuses the key in" if has_key else "wants a key: put it in"
            raise BenchError(f"{self.url} {fault} {self._key_name} ({reason})")


@asynccontextmanager
async def connect(url: str, key: str, key_name: str) -> AsyncIterator[Endpoint]:
    """Open a client of an endpoint; `key_name` is where a user would put the key."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
    )
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=timeout
    ) as session:
        yield Endpoint(session, base_url(url), key_name)


def base_url(url: str) -> str:
    """Return the URL that `/chat/completions` is appended to; `/v1` unless a path is given."""
    parsed = URL(url if "://" in url else f"http://{url}")
    if parsed.user or parsed.password:
        raise BenchError("keep the key out of the URL; it belongs in the environment")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.with_path(path or "/v1").with_query(None).with_fragment(None))
