"""Which sequences may stand within a block of the KV cache. Pure: told what each step gave."""


class Prefills:
    """Follows sequences through their prompts, as OpenVINO GenAI's scheduler takes them.

    A step gives each sequence that generates its token first, and what is left of the batch to
    prompts, whole ones in the order they came: so of those without a token only the first can
    have begun. One whose blocks were taken for another computes its prompt again, which shows
    as a step without a token.

    Source: openvino.genai 2026.4, continuous_batching/scheduler.hpp,
    `_schedule_prompt_phase_dynamic_split_fuse` and `_preempt_by_recompute`.
    """

    def __init__(self) -> None:
        self._prompts: dict[int, None] = {}
        self._paused: set[int] = set()

    def add(self, key: int) -> None:
        """Take a sequence that was just handed to the scheduler."""
        self._prompts[key] = None

    def note(self, key: int, *, has_token: bool) -> None:
        """Record whether the last step gave the sequence a token."""
        if has_token:
            self.remove(key)
        elif key not in self._prompts:
            self._paused.add(key)

    def remove(self, key: int) -> None:
        """Forget a sequence that the scheduler no longer has, or that stands behind a token."""
        self._prompts.pop(key, None)
        self._paused.discard(key)

    def may_be_within_a_block(self, key: int) -> bool:
        """Whether the last step may have left the sequence amid its prompt."""
        return key in self._paused or key == next(iter(self._prompts), None)
