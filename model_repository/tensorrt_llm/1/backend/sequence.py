"""One sequence of a request: raw tokens in, tokens that belong to the answer out."""

from dataclasses import dataclass, field

from backend.contract import Request
from backend.engine import Progress, Tops


@dataclass
class Sequence:
    """Cuts what an engine generates as TensorRT-LLM does.

    `end_id` ends the sequence and is dropped, a stop word ends it and is kept, and neither counts
    before `min_tokens`; at `max_tokens` it ends anyway.
    """

    request: Request
    index: int
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    tops: list[Tops] = field(default_factory=list)
    is_finished: bool = False

    def push(self, progress: Progress) -> int:
        """Take newly generated tokens; return how many of them were kept."""
        before = len(self.ids)
        for token in progress.ids:
            if self.is_finished:
                break
            self._push_one(token)
        kept = len(self.ids) - before
        self.log_probs += progress.log_probs[:kept]
        self.tops += progress.tops[:kept]
        self.is_finished |= progress.is_finished
        return kept

    def _push_one(self, token: int) -> None:
        may_end = len(self.ids) >= self.request.min_tokens
        if token == self.request.end_id and may_end:
            self.is_finished = True
            return
        self.ids.append(token)
        has_stop_word = may_end and any(self._ends_with(word) for word in self.request.stop_words)
        self.is_finished = has_stop_word or len(self.ids) >= self.request.max_tokens

    def _ends_with(self, word: tuple[int, ...]) -> bool:
        return self.ids[-1] == word[-1] and tuple(self.ids[-len(word) :]) == word
