"""A mock Triton that costs next to nothing: all messages of a tick leave in one write a client.

It speaks HTTP/2 by hand, so that a process has tokens enough for several GPUs; it always streams.
A stream whose client does not read waits, and so do the tokens that it would have got.

    python -m bench.fast_triton --port N [--pace-ms 20]
"""

import argparse
import asyncio
import struct

import uvloop
from tritonclient.grpc import service_pb2 as pb

from bench.http2_server import Peer, data
from bench.mock_triton import PLACEHOLDER, SERVICE, config, token_ids, tokens_message
from gateway.http2.messages import PREFIX_BYTES

IDS = [token_ids(256)[at : at + 4] for at in range(0, 1024, 4)]
UNARY = {
    "ModelConfig": config(),
    "ServerMetadata": pb.ServerMetadataResponse(name="mock").SerializeToString(),
    "ModelReady": pb.ModelReadyResponse(ready=True).SerializeToString(),
}


class Generation:
    """A stream of tokens to one client; all frames but the last differ in the token alone."""

    __slots__ = ("_after", "_before", "_last", "_left", "_peer", "size", "stream_id")

    def __init__(self, peer: Peer, stream_id: int, request_id: str, num_tokens: int) -> None:
        frame = data(stream_id, tokens_message(request_id, PLACEHOLDER, is_final=False))
        self.stream_id = stream_id
        self.size = len(frame)
        self._before, self._after = frame.split(PLACEHOLDER)
        self._last = data(stream_id, tokens_message(request_id, IDS[0], is_final=True))
        self._peer = peer
        self._left = num_tokens

    def next(self) -> bytes:
        """Return the frames of the next token."""
        self._left -= 1
        if self._left:
            return self._before + IDS[self._left % len(IDS)] + self._after
        return self._last + self._peer.end(self.stream_id)


class MockTriton:
    """Gives every stream a token each `pace_s`."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._running: dict[Peer, list[Generation]] = {}

    def answer(self, peer: Peer, stream_id: int, path: str, request: bytes) -> None:
        """Answer what a gateway asks of Triton."""
        name = path.removeprefix(SERVICE)
        if name == "ModelStreamInfer":
            asked = pb.ModelInferRequest.FromString(request[PREFIX_BYTES:])
            at = [tensor.name for tensor in asked.inputs].index("request_output_len")
            (num_tokens,) = struct.unpack("<i", asked.raw_input_contents[at])
            peer.write((peer.begin(stream_id),))
            generation = Generation(peer, stream_id, asked.id, num_tokens)
            self._running.setdefault(peer, []).append(generation)
        else:
            peer.answer_once(stream_id, UNARY[name])

    async def serve(self, port: int, num_addresses: int = 1) -> None:
        """Serve on so many addresses of loopback, 127.0.0.1 and on, until cancelled."""
        loop = asyncio.get_running_loop()
        hosts = [f"127.0.0.{number}" for number in range(1, num_addresses + 1)]
        await loop.create_server(lambda: Peer(self.answer), hosts, port)
        due = loop.time()
        while True:
            due += self._pace_s
            await asyncio.sleep(due - loop.time())
            for peer in list(self._running):
                self._tick(peer)

    def _tick(self, peer: Peer) -> None:
        running = [each for each in self._running[peer] if each.stream_id in peer.windows]
        self._running[peer] = running
        if not running:
            del self._running[peer]
        if peer.is_paused:
            return
        peer.write(each.next() for each in running if peer.take(each.stream_id, each.size))


def main() -> None:
    """Run the mock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=20)
    parser.add_argument("--addresses", type=int, default=1)
    options = parser.parse_args()
    uvloop.run(MockTriton(options.pace_ms / 1000).serve(options.port, options.addresses))


if __name__ == "__main__":
    main()
