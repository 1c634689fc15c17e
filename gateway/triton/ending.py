"""Why a sequence ended, which Triton's contract does not say."""

from gateway.generation import Delta, FinishReason, Generation


class Ending:
    """Infers the end of one sequence from its tokens.

    The engine drops `end_id` and echoes any other end token; a sequence that shows neither and
    is as long as it may be was cut off.
    """

    __slots__ = (
        "_end_ids",
        "_left",
        "_met_end",
    )

    def __init__(self, generation: Generation, max_model_len: int) -> None:
        room = max_model_len - len(generation.prompt.token_ids)
        self._end_ids = frozenset(generation.end_ids)
        self._left = min(generation.max_tokens, room)
        self._met_end = False

    @property
    def reason(self) -> FinishReason:
        is_cut = self._left <= 0 and not self._met_end
        return FinishReason.LENGTH if is_cut else FinishReason.STOP

    def trim(self, delta: Delta) -> Delta:
        """Return the delta without the end token, if it closes with one."""
        token_ids = delta.token_ids
        self._left -= len(token_ids)
        if not token_ids or token_ids[-1] not in self._end_ids:
            return delta
        self._met_end = True
        return Delta(delta.index, token_ids[:-1], delta.logprobs[:-1])

    def count(self, num_tokens: int) -> None:
        """Note tokens that are not shown."""
        self._left -= num_tokens
