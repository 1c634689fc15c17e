"""Why a sequence ended, which Triton's contract does not say."""

from array import array

from gateway.generation import Delta, FinishReason, Generation


class Ending:
    """Infers the end of one sequence from its tokens.

    The engine drops `end_id` and echoes any other end token; a sequence that shows neither and
    is as long as it may be was cut off. `token_ids` are all that came, end tokens included.
    """

    __slots__ = ("_end_ids", "_limit", "_met_end", "_num_unseen", "token_ids")

    def __init__(self, generation: Generation, max_model_len: int) -> None:
        room = max_model_len - len(generation.prompt.token_ids)
        self.token_ids = array("i")
        self._end_ids = frozenset(generation.end_ids)
        self._limit = min(generation.max_tokens, room)
        self._num_unseen = 0
        self._met_end = False

    @property
    def num_tokens(self) -> int:
        """How many have come, those that are not shown included."""
        return len(self.token_ids) + self._num_unseen

    @property
    def is_over(self) -> bool:
        """Whether no more can come, though the engine did not say so yet."""
        return self._met_end or self.num_tokens >= self._limit

    @property
    def reason(self) -> FinishReason:
        is_cut = self.num_tokens >= self._limit and not self._met_end
        return FinishReason.LENGTH if is_cut else FinishReason.STOP

    def trim(self, delta: Delta) -> Delta:
        """Return the delta without the end token, if it closes with one."""
        token_ids = delta.token_ids
        self.token_ids.fromlist(token_ids)
        if not token_ids or token_ids[-1] not in self._end_ids:
            return delta
        self._met_end = True
        logprobs, tops = delta.logprobs[:-1], delta.tops[:-1]
        return Delta(delta.index, token_ids[:-1], logprobs, tops, delta.prompt)

    def count(self, num_tokens: int) -> None:
        """Note tokens that are not shown."""
        self._num_unseen += num_tokens


class Endings:
    """Those of all sequences of a generation."""

    __slots__ = ("each",)

    def __init__(self, generation: Generation, max_model_len: int) -> None:
        self.each = [Ending(generation, max_model_len) for _ in range(generation.num_sequences)]

    @property
    def num_tokens(self) -> int:
        """How many tokens have come, of all sequences."""
        return sum(ending.num_tokens for ending in self.each)
