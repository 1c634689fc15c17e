"""What a completion that repeats its prompt tells of the prompt's tokens, in OpenAI's columns."""

from collections.abc import Sequence
from itertools import accumulate

from gateway.errors import InvalidRequest
from gateway.generation import PromptLogprobs
from gateway.openai.shapes import JsonObject
from gateway.output.events import TokenLogprob
from gateway.output.trace import token_logprob
from gateway.output.vocabulary import Vocabulary

MAX_TOLD = 16_384
"""Tokens of prompts that are told of, in all choices of a prompt together."""


def check_told(num_tokens: int, num_choices: int) -> None:
    """Raise InvalidRequest for more than can be told of without making others wait."""
    if num_tokens * num_choices > MAX_TOLD:
        raise InvalidRequest(
            f"'logprobs' with 'echo' would tell of {num_tokens * num_choices:,} tokens of the "
            f"prompt, where {MAX_TOLD:,} are possible.",
            param="logprobs",
        )


def prompt_columns(
    vocabulary: Vocabulary, token_ids: Sequence[int], told: PromptLogprobs, shows_special: bool
) -> JsonObject:
    """Return the columns of `logprobs` for the prompt.

    Of its first token nothing is known, which OpenAI's schema has no word for: 0 adds nothing.
    A control token is shown among the tokens, but in the text only with `shows_special`.
    """
    tops = told.tops or [()] * len(told.logprobs)
    entries = [
        token_logprob(vocabulary, token_id, logprob, top)
        for token_id, logprob, top in zip(token_ids[1:], told.logprobs, tops, strict=True)
    ]
    texts = [vocabulary.token(token_id).decode(errors="replace") for token_id in token_ids]
    lengths = [
        len(text) if shows_special or token_id not in vocabulary.special_ids else 0
        for token_id, text in zip(token_ids, texts, strict=True)
    ]
    return {
        "tokens": texts,
        "token_logprobs": [0.0, *[entry.logprob for entry in entries]],
        "top_logprobs": [{}, *map(by_text, entries)],
        "text_offset": list(accumulate(lengths[:-1], initial=0)),
    }


def by_text(entry: TokenLogprob) -> dict[str, float]:
    """Return the likeliest tokens at a place, and the one that is there."""
    return {each.token: each.logprob for each in (*entry.tops, entry)}
