"""What sequences hold of the paged KV cache. Pure."""

BLOCK_TOKENS = 32
_CHUNK_TOKENS = 192


class KvBlocks:
    """Counts blocks, so that no prompt is begun that would have to give some back halfway.

    OpenVINO GenAI takes blocks from the latest sequence when there are none, and files those of
    a prompt that is half computed as if it were whole. A step computes at least 192 tokens of
    prompts beside 64 sequences that gain one each.
    """

    def __init__(self, num_blocks: int) -> None:
        self._num_blocks = num_blocks
        self._lengths: dict[int, int] = {}
        self._prompts: dict[int, int] = {}

    def most_at_once(self, prompt_tokens: int) -> int:
        """How many sequences with a prompt of this length can generate at once."""
        return self._num_blocks // _blocks(prompt_tokens + 1)

    def have_room(self, prompt_tokens: int, num_sequences: int) -> bool:
        """Whether so many more can start; always where there is none."""
        if not self._lengths:
            return True
        to_compute = sum(self._prompts.values()) + prompt_tokens * num_sequences
        growth = to_compute // _CHUNK_TOKENS + 1
        held = sum(_blocks(length + growth) for length in self._lengths.values())
        return held + _blocks(prompt_tokens + growth) * num_sequences <= self._num_blocks

    def add(self, key: int, prompt_tokens: int) -> None:
        """Take a sequence whose prompt is to be computed."""
        self._lengths[key] = self._prompts[key] = prompt_tokens

    def grow(self, key: int, num_tokens: int) -> None:
        """Count tokens that a sequence gained, behind its prompt."""
        self._prompts.pop(key, None)
        self._lengths[key] += num_tokens

    def remove(self, key: int) -> None:
        """Give back what a sequence held."""
        self._prompts.pop(key, None)
        self._lengths.pop(key, None)


def _blocks(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_TOKENS)
