"""Streams that we closed while the client might still send on them."""

from collections import OrderedDict

MAX_KEPT = 4096
"""Four times as many as may be open: by then a client has long heard of the oldest."""


class Abandoned:
    """The ids of such streams. What a client had sent before it heard of the end still arrives."""

    def __init__(self) -> None:
        self._ids: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._ids

    def add(self, stream_id: int) -> None:
        """Keep a stream, and let go of the oldest."""
        self._ids[stream_id] = None
        if len(self._ids) > MAX_KEPT:
            self._ids.popitem(last=False)

    def end(self, stream_id: int) -> None:
        """Note that the client sends no more on a stream."""
        self._ids.pop(stream_id, None)
