"""Whether a Triton can serve, judged by what was seen of it. Pure: nothing is asked here.

Readiness is not life: with a dead model process Triton 2.51 says ready still (its issue 8604), and
so it does where an engine stands still. Silence is not death: a prefill may be long, all that
runs may be answered as a whole, a queue may be full. So silence and failures only raise a
question, which a generation of one token answers, and an engine that answers it in any way lives.
"""

from enum import Enum
from typing import NamedTuple

from gateway.triton.replica import Progress, Readiness

SILENCE_S = 5.0
"""How long nothing may come of open calls until the engine is asked."""
SILENT_PROBES = 3
"""How many probes in a row go unanswered by a Triton that is not merely busy."""
FAILED_CANARIES = 2
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 5.0
HUNG_TOKENS = 50
"""How many times their usual wait for a token streams may stand still until their engine is taken
for hung, where others can take what waits there; and that for so many seconds at least."""
HUNG_S = 2.0
SILENT_CANARIES = 2
WAIT_S = 10.0
"""After so many and so long an engine hangs of which streams wait for their first token alone."""
PREFILLS = 3
"""How many times as long as the prompts that wait should take to read they may have besides."""


class Canary(Enum):
    """What a generation of one token came to; being refused is an answer, too.

    UNSERVED is what Triton says of a model without its process, BROKEN an engine that fails.
    """

    ANSWERED = "answered"
    SILENT = "silent"
    UNSERVED = "unserved"
    BROKEN = "broken"


class Verdict(NamedTuple):
    """Why a Triton cannot serve, if so, and whether what runs on it is lost, or waits in vain."""

    reason: str = ""
    is_lost: bool = False
    is_hung: bool = False


WELL = Verdict()
DEAD = Verdict("The model's process does not answer.", is_lost=True)
BROKEN = Verdict("The engine fails at whatever it is asked.")
STALLED = Verdict("The engine generates no more tokens.", is_lost=True)
HUNG = Verdict("The engine stands still.", is_hung=True)
SILENT = Verdict(Readiness.SILENT.value, is_lost=True)


class Checkup:
    """Judges one Triton; times are seconds on any one clock.

    `stall_timeout_s` is how long streams that had tokens may stand still, the canary with them,
    until the engine is taken for hung; 0 is for ever.
    """

    def __init__(self, stall_timeout_s: float, now: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._sign_at = now
        self._silent_s = 0.0
        self._progress = Progress(0, has_come=False, is_decoding=False)
        self._readiness = Readiness.READY
        self._num_silent_probes = self._num_silent_canaries = 0
        self._failed: list[Canary] = []
        self._has_answered = False
        self._is_asking = False
        self._is_lost = self._is_hung = False
        self._canary_at = now
        self._pause_s = FIRST_PAUSE_S

    def note(
        self,
        now: float,
        progress: Progress,
        readiness: Readiness,
        *,
        has_trouble: bool = False,
        has_others: bool = False,
        is_stuck: bool = False,
    ) -> None:
        """Note what a look has found.

        `has_trouble` tells that a call ended badly, `has_others` that others can take its calls,
        `is_stuck` that the engine has work and by its own count does not go on.
        """
        self._progress, self._readiness = progress, readiness
        if progress.has_come or not progress.num_open:
            self._sign_at = now
        self._silent_s = now - self._sign_at
        is_silent = readiness is Readiness.SILENT and not progress.has_come
        self._num_silent_probes = self._num_silent_probes + 1 if is_silent else 0
        self._note_standstill(has_others, is_stuck)
        self._is_asking |= has_trouble or self._silent_s >= SILENCE_S
        if readiness is not Readiness.READY:  # once it is again, ask at once
            self._canary_at, self._pause_s = now, FIRST_PAUSE_S

    def wants_canary(self, now: float) -> bool:
        """Tell whether the engine is to be asked for a token now."""
        is_ready = self._readiness is Readiness.READY
        has_cause = self._is_asking or self._is_lost or self._is_hung
        return is_ready and has_cause and now >= self._canary_at

    def note_canary(self, now: float, canary: Canary) -> None:
        """Note what asking for a token came to.

        Of an engine that never gave one, failing at it says nothing: it may need more than a token.
        """
        self._canary_at = now + self._pause_s
        is_odd = canary is Canary.BROKEN and not self._has_answered
        if canary is Canary.ANSWERED or is_odd:
            self._has_answered |= not is_odd
            self._sign_at, self._pause_s = now, FIRST_PAUSE_S
            self._is_asking = self._is_lost = self._is_hung = False
            self._failed.clear()
            self._num_silent_canaries = 0
            return
        if canary is Canary.SILENT:
            self._num_silent_canaries += 1
        else:
            self._failed = [*self._failed, canary][-FAILED_CANARIES:]
        self._is_lost |= len(self._failed) == FAILED_CANARIES or self._is_stalled
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    @property
    def verdict(self) -> Verdict:
        """Why it cannot serve, if so."""
        if self._is_lost:
            return self._failure or STALLED
        if self._num_silent_probes >= SILENT_PROBES:
            return SILENT
        if self._readiness is Readiness.UNREACHABLE and not self._progress.has_come:
            return Verdict(Readiness.UNREACHABLE.value, is_lost=self._silent_s >= SILENCE_S)
        if self._readiness is Readiness.NOT_READY:
            return Verdict(Readiness.NOT_READY.value)
        return HUNG if self._is_hung else WELL

    def _note_standstill(self, has_others: bool, is_stuck: bool) -> None:
        """Note whether it hangs; from then on until something comes, or a canary is answered."""
        progress = self._progress
        if progress.has_come:
            self._is_hung = False
            self._num_silent_canaries = 0
            return
        if is_stuck or (progress.is_decoding and progress.token_s > 0):
            patience_s = max(HUNG_S, HUNG_TOKENS * progress.token_s)
        elif progress.are_streams and self._num_silent_canaries >= SILENT_CANARIES:
            patience_s = WAIT_S
        else:
            return
        patience_s += PREFILLS * progress.prefill_s
        self._is_hung |= has_others and self._silent_s >= patience_s

    @property
    def _failure(self) -> Verdict | None:
        if len(self._failed) < FAILED_CANARIES:
            return None
        return DEAD if Canary.UNSERVED in self._failed else BROKEN

    @property
    def _is_stalled(self) -> bool:
        limit = self._stall_timeout_s
        return bool(limit) and self._progress.is_decoding and self._silent_s >= limit
