"""Parameters that are understood but do nothing here, and those that are refused, as data."""

from typing import Any

IGNORED = frozenset(
    {
        "cache_salt",
        "metadata",
        "prediction",
        "priority",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "verbosity",
    }
)
"""Hints and bookkeeping of OpenAI's own service, and scheduling hints Triton cannot take."""

HINTS = ("prompt_cache_key", "user")
"""What tells which requests belong together: where there are several replicas, they go to one."""

_FORM = "Give 'structured_outputs' or 'guided_{}'."

REFUSED = {
    "allowed_token_ids": "Answers are not held to a list of tokens.",
    "audio": "Audio is not produced here.",
    "chat_template": "Templates come with the model, not with a request.",
    "documents": "Hand them to the chat template: 'chat_template_kwargs' takes 'documents'.",
    "ebnf": _FORM.format("grammar"),
    "grammar": _FORM.format("grammar"),
    "json_schema": "Give 'response_format', 'structured_outputs' or 'guided_json'.",
    "logits_processors": "Code of a caller's is not run here.",
    "moderation": "Moderation is not performed here.",
    "no_repeat_ngram_size": "Repeated sequences are not forbidden here.",
    "prompt_logprobs": "The engine does not tell the log probabilities of the prompt.",
    "regex": _FORM.format("regex"),
    "return_tokens_as_token_ids": "Ask for 'return_token_ids'.",
    "truncate_prompt_tokens": "Prompts are not cut: one that is too long is refused.",
    "typical_p": "Triton's models have no tensor for it.",
    "use_beam_search": "Beam search is not offered: it cannot stream.",
    "web_search_options": "Web search is not performed here.",
}
"""Parameters that would change the answer, so that ignoring them would answer wrongly."""

_NEUTRAL: dict[str, tuple[float, ...]] = {"no_repeat_ngram_size": (0,), "typical_p": (1,)}


def neutral_values(name: str) -> list[Any]:
    """Return the values of a refused parameter that are the same as leaving it out."""
    return [None, False, [], *_NEUTRAL.get(name, ())]


def asks_for_nothing(name: str, value: Any) -> bool:
    """Tell whether a value is one of these; 0 is not false."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value in (_NEUTRAL.get(name, ()) if is_number else (None, False, []))
