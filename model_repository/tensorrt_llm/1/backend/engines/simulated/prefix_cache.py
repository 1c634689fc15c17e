"""Prefixes of prompts that a KV cache still holds. Pure."""

import zlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 32


class PrefixCache:
    """Remembers the blocks of prompts, up to so many tokens, the latest used for longest.

    Of a prompt the ends go first: its blocks are released from the last to the first, and what was
    released first is taken first (kvCacheManager.cpp, `releaseBlocks`).

    As in TensorRT-LLM a block is found by all tokens up to its end, only whole blocks are reused,
    and never the last token of a prompt, for which there would be nothing left to compute
    (kvCacheManager.cpp, `loadOrAllocateBlocks`; `enableBlockReuse` in its documentation).
    """

    def __init__(self, capacity_tokens: int) -> None:
        self._num_blocks = capacity_tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def take(self, token_ids: Sequence[int]) -> int:
        """Return how many blocks of a prompt are there; from now on all of them are."""
        reused, is_known, checksum = 0, True, 0
        blocks: list[int] = []
        packed = memoryview(array("i", token_ids)).cast("B")
        for end in range(BLOCK_TOKENS, len(token_ids) + 1, BLOCK_TOKENS):
            checksum = zlib.crc32(packed[(end - BLOCK_TOKENS) * 4 : end * 4], checksum)
            is_known = is_known and checksum in self._blocks and end < len(token_ids)
            reused += is_known
            blocks.append(checksum)
        for block in reversed(blocks):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._num_blocks:
            self._blocks.popitem(last=False)
        return reused
