"""Guides that may be used: each compiled once, beside the loop, and remembered."""

import openvino_genai

from backend.contract import Guide, Refused
from backend.engines.openvino.guide_size import check_size, is_cheap
from backend.engines.openvino.guide_trial import GuideTrial
from backend.engines.openvino.guide_verdicts import Verdicts
from backend.engines.openvino.guides import GuideCheck

_REMEMBERED_BYTES = 8 << 20
# xgrammar keeps every grammar it compiled. With 49,152 tokens: 0.3 MB for five properties in 180
# bytes, 0.8 MB for 200 in 9 KB.
_HELD_BYTES = 300_000
_HELD_BYTES_PER_CHARACTER = 60


class GuideOffice:
    """Compiles guides for a pipeline with this tokenizer.

    What is not sure to be cheap is tried in another process first. What has been compiled here,
    the pipeline finds compiled: there, a guide of 22 KB then costs 30 ms in place of 10 s.
    """

    def __init__(
        self, tokenizer: openvino_genai.Tokenizer, trial: GuideTrial, max_held_bytes: int
    ) -> None:
        self._tokenizer = tokenizer
        self._trial = trial
        self._check: GuideCheck | None = None
        self._verdicts = Verdicts(_REMEMBERED_BYTES)
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether what is compiled here takes about as much memory as it may."""
        return self._held_bytes > self._max_held_bytes

    def is_known(self, guide: Guide) -> bool:
        """Whether the guide has been compiled; raise Refused where it is known not to be."""
        verdict = self._verdicts.get(guide)
        if verdict:
            raise Refused(verdict)
        return verdict is not None

    def compile(self, guide: Guide) -> None:
        """Return once the guide is compiled; raise Refused with the reason it is not.

        On one thread alone: others of the same priority are started by the first call.
        """
        if self.is_known(guide):
            return
        verdict = ""
        try:
            self._compile(guide)
        except Refused as refused:
            verdict = str(refused)
            raise
        finally:
            self._verdicts.put(guide, verdict)

    def _compile(self, guide: Guide) -> None:
        check_size(guide)
        if self._check is None:
            self._check = GuideCheck(self._tokenizer)
        if not is_cheap(guide):
            self._trial.check(guide)
        self._held_bytes += _HELD_BYTES + _HELD_BYTES_PER_CHARACTER * len(guide.text)
        self._check.check(guide)
