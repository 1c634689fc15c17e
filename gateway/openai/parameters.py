"""Parameters that are understood but do nothing here, and those that are refused, as data."""

IGNORED = frozenset(
    {
        "cache_salt",
        "metadata",
        "prediction",
        "priority",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Hints and bookkeeping of OpenAI's own service, and scheduling hints Triton cannot take."""

REFUSED = {
    "audio": "Audio is not produced here.",
    "moderation": "Moderation is not performed here.",
    "use_beam_search": "Beam search is not offered: it cannot stream.",
    "web_search_options": "Web search is not performed here.",
}
"""Parameters that would change the answer, so that ignoring them would answer wrongly."""
