"""A model's tokenizer, read from its Hugging Face folder. Knows no messages and no templates."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from gateway.prompt.pieces import Control, Piece, Text
from gateway.prompt.plaintext import is_control, plain, text_tokenizer
from gateway.prompt.words import longest_of

# Texts are encoded one at a time, where a pool of threads only costs; and a fork would lose it.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# What ends an assistant's turn, the likeliest first: a tokenizer's own eos is often only the end
# of a document, and a model that is not stopped here runs on into the next turn.
_TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|eom_id|>", "<|end_of_text|>")
_NAMED_TOKENS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back; safe to share between threads.

    `special_ids` holds the tokens flagged special, `control_ids` these and every other added
    token that text must not turn into. `end_ids` end an answer, the end of an assistant's turn
    first. `bos_id` opens every prompt of raw text, None for models without such a token.
    `opening_ids` are put before a text by whoever encodes it with special tokens, which text
    engines do. `named_tokens` are the tokenizer's own roles (bos_token, ...), `chat_templates` its
    Jinja sources by name.
    """

    backend: tokenizers.Tokenizer
    vocab_size: int
    special_ids: Mapping[str, int]
    control_ids: Mapping[str, int]
    named_tokens: Mapping[str, str]
    bos_id: int | None
    opening_ids: tuple[int, ...]
    end_ids: tuple[int, ...]
    chat_templates: Mapping[str, str]
    _text: tokenizers.Tokenizer
    _opens_with_space: bool

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """Read tokenizer.json and, where present, the configuration files beside it.

        Raises FileNotFoundError without a tokenizer.json, ValueError where a file makes no sense.
        """
        source = (directory / "tokenizer.json").read_bytes()
        try:
            backend = plain(tokenizers.Tokenizer.from_buffer(source))
            added = backend.get_added_tokens_decoder()
            control = {token.content: place for place, token in added.items() if is_control(token)}
            text, opens_with_space = text_tokenizer(backend, source, control)
        except Exception as error:  # the binding raises nothing narrower
            raise ValueError(f"{directory / 'tokenizer.json'}: {error}") from error
        config = _read_json(directory / "tokenizer_config.json")
        named = _named_tokens(config | _read_json(directory / "special_tokens_map.json"))
        return cls(
            backend=backend,
            vocab_size=max(backend.get_vocab(with_added_tokens=True).values()) + 1,
            special_ids={token.content: number for number, token in added.items() if token.special},
            control_ids=control,
            named_tokens=named,
            bos_id=_bos_id(backend, named),
            opening_ids=_opening_ids(backend),
            end_ids=_end_ids(backend, named, _read_json(directory / "generation_config.json")),
            chat_templates=_chat_templates(directory, config),
            _text=text,
            _opens_with_space=opens_with_space,
        )

    @property
    def chat_template(self) -> str | None:
        """The Jinja source for ordinary conversations, None where the folder has none."""
        return self.chat_templates.get("default")

    def encode(self, text: str) -> list[int]:
        """Return the ids of text in which nothing is a control token, whatever it spells."""
        return self._text.encode_batch_fast([well_formed(text)], add_special_tokens=False)[0].ids

    def encode_with_special(self, text: str) -> list[int]:
        """Return the ids of text in which control tokens count as what they spell."""
        return [
            number
            for piece in self.split(text)
            for number in (
                (piece.token_id,) if isinstance(piece, Control) else self.encode(piece.text)
            )
        ]

    def split(self, text: str) -> list[Piece]:
        """Cut a prompt's whole text at the control tokens it spells, longest first."""
        pieces: list[Piece] = []
        end = 0
        for found in self._control_pattern.finditer(text):
            if found.start() > end:
                pieces.append(self._text_at(end, text[end : found.start()]))
            token = found[0] if found[0] in self.control_ids else found[0].strip()
            pieces.append(Control(self.control_ids[token], token))
            end = found.end()
        if end < len(text):
            pieces.append(self._text_at(end, text[end:]))
        return pieces

    def count_controls(self, text: str) -> int:
        """Return how many control tokens a text spells."""
        return sum(1 for _ in self._control_pattern.finditer(text))

    def opening(self, text: str) -> Text:
        """Return the piece for text at the very start of a prompt, where some models pad it."""
        pads = self._opens_with_space and text and text[0] not in " ▁"
        return Text(f" {text}" if pads else text)

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Return the text of ids; bytes that are no whole character become U+FFFD."""
        # A batch of one, because other threads go on while a batch is decoded.
        return self.backend.decode_batch([token_ids], skip_special_tokens=skip_special)[0]

    def _text_at(self, offset: int, text: str) -> Text:
        return Text(text) if offset else self.opening(text)

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        added = self.backend.get_added_tokens_decoder().values()
        controls = sorted(filter(is_control, added), key=lambda token: -len(token.content))
        if not any(token.lstrip or token.rstrip or token.single_word for token in controls):
            return re.compile(longest_of(token.content for token in controls))
        return re.compile("|".join(map(_token_pattern, controls)))


def well_formed(text: str) -> str:
    """Return text as UTF-8 can carry it: surrogates paired, lone ones replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _token_pattern(token: tokenizers.AddedToken) -> str:
    """A token with the whitespace it swallows, and its edges where it must be a word alone."""
    edge = r"\b" if token.single_word else ""
    before, after = r"\s*" * token.lstrip, r"\s*" * token.rstrip
    return f"{before}{edge}{re.escape(token.content)}{edge}{after}"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return value


def _named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Read bos_token, eos_token and the like; each is a string or an object with `content`."""
    named = {}
    for role in _NAMED_TOKENS:
        token = config.get(f"{role}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            named[f"{role}_token"] = content
    return named


def _opening_ids(backend: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Return what a tokenizer.json's post-processor puts before a text."""
    bare = backend.encode("a", add_special_tokens=False).ids
    told = backend.encode("a").ids
    starts = (at for at in range(len(told)) if told[at : at + len(bare)] == bare)
    return tuple(told[: next(starts, 0)])


def _bos_id(backend: tokenizers.Tokenizer, named: Mapping[str, str]) -> int | None:
    """The id the tokenizer itself puts before text; Llama 3's even where its file forgets to."""
    added = backend.encode("").ids[:1]
    for token in (named.get("bos_token", ""), "<|begin_of_text|>"):
        number = backend.token_to_id(token)
        if number is not None and (added == [number] or token == "<|begin_of_text|>"):
            return number
    return None


def _end_ids(
    backend: tokenizers.Tokenizer, named: Mapping[str, str], generation_config: Mapping[str, Any]
) -> tuple[int, ...]:
    configured = generation_config.get("eos_token_id")
    by_name = (backend.token_to_id(token) for token in (*_TURN_ENDS, named.get("eos_token", "")))
    candidates = [*by_name, *(configured if isinstance(configured, list) else [configured])]
    return tuple(dict.fromkeys(number for number in candidates if number is not None))


def _chat_templates(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Jinja sources by name; a file of its own wins over the configuration, as in transformers."""
    configured = config.get("chat_template")
    templates = {"default": configured} if isinstance(configured, str) else {}
    if isinstance(configured, list):
        templates = {entry["name"]: entry["template"] for entry in configured}
    files = [*directory.glob("additional_chat_templates/*.jinja")]
    templates |= {path.stem: path.read_text(encoding="utf-8") for path in files}
    own = directory / "chat_template.jinja"
    if own.exists():
        templates["default"] = own.read_text(encoding="utf-8")
    return templates
