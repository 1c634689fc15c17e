"""Whether prompt and answer fit a model's context."""

import msgspec

from gateway.errors import ContextTooLong


class Context(msgspec.Struct, frozen=True):
    """The tokens that a prompt may have, and the parameter it comes from."""

    max_model_len: int
    param: str

    def check_least(self, num_tokens: int) -> None:
        """Raise ContextTooLong where a prompt of so many tokens or more cannot fit."""
        if num_tokens > self.max_model_len:
            raise ContextTooLong.by_prompt(num_tokens, self.max_model_len, self.param, "at least ")


ANY_LENGTH = Context(2**31, "prompt")


def check_context(
    num_prompt_tokens: int, max_tokens: int | None, max_model_len: int, *, param: str = "messages"
) -> int:
    """Return how many tokens the answer may have: `max_tokens`, or all that the prompt leaves.

    Raises ContextTooLong, telling both numbers, where prompt and answer exceed `max_model_len`;
    `param` is where the caller put the prompt.
    """
    left = max_model_len - num_prompt_tokens
    if left < 1:
        raise ContextTooLong.by_prompt(num_prompt_tokens, max_model_len, param)
    if max_tokens is not None and max_tokens > left:
        raise ContextTooLong.by_answer(num_prompt_tokens, max_tokens, max_model_len, param)
    return left if max_tokens is None else max_tokens
