"""The half of a tokenizer that only knows text: no input makes it yield a control token."""

import json
import secrets
from collections.abc import Iterable, Mapping, Set
from typing import Any

import orjson
from tokenizers import AddedToken, Tokenizer


def is_control(token: AddedToken) -> bool:
    """Tell control tokens from added whitespace, which some models use as plain text."""
    return bool(token.special or token.content.strip())


def text_tokenizer(
    whole: Tokenizer, source: bytes, control: Mapping[str, int]
) -> tuple[Tokenizer, bool]:
    """Return a tokenizer for text, and whether a prompt's opening text gains a leading space.

    `whole` is the tokenizer that `source`, a tokenizer.json, describes; it is the one returned
    where its own switch is enough. Raises ValueError, naming the token, where some text would
    still become one of the `control` tokens.
    """
    prepends = _prepends(whole)
    tokenizer = whole
    if prepends or _has_reachable_control(whole):
        spec = orjson.loads(source)
        _stop_prepending(spec.get("pre_tokenizer"))
        _remove(spec, control)
        tokenizer = plain(Tokenizer.from_buffer(orjson.dumps(spec)))
    tokenizer.encode_special_tokens = True
    _check(tokenizer, source, control)
    return tokenizer, prepends


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with the truncation and padding that its file may ask for turned off."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _has_reachable_control(tokenizer: Tokenizer) -> bool:
    """Whether `encode_special_tokens` is not enough, as it only covers tokens flagged special."""
    return any(
        not token.special or tokenizer.model.token_to_id(token.content) is not None
        for token in tokenizer.get_added_tokens_decoder().values()
    )


def _unknown(model: Mapping[str, Any]) -> str | None:
    """The token for what the model cannot encode, which is no control token whatever its flag."""
    place = model.get("unk_id")
    return model.get("unk_token") if place is None else model["vocab"][place][0]


def _remove(spec: dict[str, Any], control: Mapping[str, int]) -> None:
    """Take control tokens out of both the added tokens and the model's own vocabulary.

    The added tokens that stay move into the vocabulary, as they would be numbered anew otherwise.
    """
    model = spec["model"]
    kept = [token for token in spec["added_tokens"] if token["content"] not in control]
    unreachable = control.keys() - {_unknown(model)}
    spec["added_tokens"] = kept
    if isinstance(model["vocab"], dict):
        words = {word: place for word, place in model["vocab"].items() if word not in unreachable}
        model["vocab"] = words | {token["content"]: token["id"] for token in kept}
    else:
        model["vocab"] = _without(model["vocab"], unreachable, kept)


def _without(
    vocab: list[list[Any]], unreachable: Set[str], kept: list[dict[str, Any]]
) -> list[list[Any]]:
    """Ids are places in this list, so words are not taken out but made unguessable."""
    size = max([len(vocab), *(token["id"] + 1 for token in kept)])
    rows = [*vocab, *([None, 0.0] for _ in range(len(vocab), size))]
    rows = [
        [secrets.token_hex() if word is None or word in unreachable else word, score]
        for word, score in rows
    ]
    for token in kept:
        rows[token["id"]][0] = token["content"]
    return rows


def _prepends(tokenizer: Tokenizer) -> bool:
    step = tokenizer.pre_tokenizer
    return step is not None and _stop_prepending(json.loads(step.__getstate__()))


def _stop_prepending(step: dict[str, Any] | None) -> bool:
    """Switch off the space that a Metaspace puts before the first text only, as later pieces
    are encoded on their own. Tells whether there was one."""
    step = step or {}
    steps = [step, *step.get("pretokenizers", [])]
    first = [step for step in steps if step.get("prepend_scheme") == "first"]
    for step in first:
        step["prepend_scheme"] = "never"
    return bool(first)


def _check(tokenizer: Tokenizer, source: bytes, control: Mapping[str, int]) -> None:
    if _reached(tokenizer, control) is None:
        return
    unknown = _unknown(orjson.loads(source)["model"])
    known = {token: place for token, place in control.items() if token != unknown}
    if token := _reached(tokenizer, known):
        raise ValueError(f"tokenizer.json cannot encode {token!r} as text")


def _reached(tokenizer: Tokenizer, control: Mapping[str, int]) -> str | None:
    """Return the first of the tokens whose spelling becomes one of them."""
    forbidden = set(control.values())
    for token, ids in zip(control, _probe(tokenizer, control), strict=True):
        if not forbidden.isdisjoint(ids):
            return token
    return None


def _probe(tokenizer: Tokenizer, tokens: Iterable[str]) -> list[list[int]]:
    probes = [f"{token} {token}a{token}" for token in tokens]
    return [
        encoding.ids for encoding in tokenizer.encode_batch_fast(probes, add_special_tokens=False)
    ]
