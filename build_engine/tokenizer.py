"""Meta's tokenizer.model to a Hugging Face tokenizer folder. Knows no weights and no engines."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from build_engine.errors import BuildError
from build_engine.failure import explained

ReleaseName = Literal["llama-3", "llama-3.1", "llama-3.2", "llama-3.3"]

# How Meta's tokenizer cuts text before merging bytes (llama3/tokenizer.py, pat_str).
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_NUM_SPECIAL = 256
_BOS, _END_OF_TEXT, _EOM, _EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"
_PLACED_3 = {
    0: _BOS, 1: _END_OF_TEXT, 6: "<|start_header_id|>", 7: "<|end_header_id|>", 9: _EOT,
}  # fmt: skip
_PLACED_3_1 = _PLACED_3 | {4: "<|finetune_right_pad_id|>", 8: _EOM, 10: "<|python_tag|>"}


@dataclass(frozen=True)
class Release:
    """What the Llama 3 releases do not share: tokens by their place, context, template."""

    placed: dict[int, str]
    context: int
    template: str
    default_date: str = ""

    @property
    def special_tokens(self) -> list[str]:
        """The 256 special tokens in the order of their ids; places without a name are reserved."""
        reserved = (f"<|reserved_special_token_{number}|>" for number in range(_NUM_SPECIAL))
        return [self.placed.get(place) or next(reserved) for place in range(_NUM_SPECIAL)]


_FIXED_DATE = '"26 Jul 2024"'
_3_1 = Release(_PLACED_3_1, 131072, "llama-3.1.jinja", _FIXED_DATE)
_RELEASES: dict[ReleaseName, Release] = {
    "llama-3": Release(_PLACED_3, 8192, "llama-3.jinja"),
    "llama-3.1": _3_1,
    "llama-3.2": Release(
        _PLACED_3_1,
        131072,
        "llama-3.1.jinja",
        f'strftime_now("%d %b %Y") if strftime_now is defined else {_FIXED_DATE}',
    ),
    "llama-3.3": _3_1,
}


def convert(model: Path, output: Path, release: ReleaseName) -> Tokenizer:
    """Write a tokenizer folder for `release` and return its tokenizer.

    The folder holds tokenizer.json, tokenizer_config.json, generation_config.json and
    chat_template.jinja. Raises BuildError where `model` cannot be read as a vocabulary.
    """
    known = _RELEASES[release]
    tokenizer = _tokenizer(_ranks(model), known.special_tokens)
    output.mkdir(parents=True, exist_ok=True)
    (output / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    _write_json(output / "tokenizer_config.json", _tokenizer_config(known))
    _write_json(output / "generation_config.json", _generation_config(tokenizer))
    (output / "chat_template.jinja").write_text(_chat_template(known), encoding="utf-8")
    return tokenizer


@explained
def tokenizer_command(
    meta: Annotated[Path, typer.Option(help="Meta's tokenizer.model.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    release: Annotated[ReleaseName, typer.Option(help="Which Llama 3.")] = "llama-3.1",
) -> None:
    """Turn Meta's tokenizer.model into a Hugging Face tokenizer folder."""
    tokenizer = convert(meta, output, release)
    typer.echo(f"{output}: {tokenizer.get_vocab_size():,} tokens, chat template of {release}")


def _ranks(model: Path) -> dict[bytes, int]:
    """Read `base64-of-the-token rank` lines."""
    try:
        ranks = {
            base64.b64decode(token, validate=True): int(rank)
            for token, rank in (line.split() for line in model.read_bytes().splitlines() if line)
        }
    except (ValueError, binascii.Error) as error:
        raise BuildError(f"{model} is not a tiktoken vocabulary: {error}") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or not all(
        bytes([byte]) in ranks for byte in range(256)
    ):
        raise BuildError(f"{model} lacks ranks or single bytes")
    return ranks


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield every pair of tokens that makes a token, the first to be merged first."""
    for token in sorted(ranks, key=ranks.__getitem__):
        halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [(left, right) for left, right in halves if left in ranks and right in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def _byte_characters() -> list[str]:
    """The printable stand-in of each byte in byte-level vocabularies.

    Printable Latin-1 bytes stand for themselves, the others for U+0100 onwards in their order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _tokenizer(ranks: dict[bytes, int], special_tokens: list[str]) -> Tokenizer:
    characters = _byte_characters()

    def written(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    tokenizer = Tokenizer(
        models.BPE(
            {written(token): rank for token, rank in ranks.items()},
            [(written(left), written(right)) for left, right in _merges(ranks)],
            ignore_merges=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special_tokens]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A",
        pair=f"{_BOS} $A {_BOS}:1 $B:1",
        special_tokens=[(_BOS, tokenizer.token_to_id(_BOS))],
    )
    return tokenizer


def _tokenizer_config(release: Release) -> dict[str, Any]:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _BOS,
        "eos_token": _EOT,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": release.context,
        "clean_up_tokenization_spaces": False,
    }
    pad_token = release.placed.get(4)
    return config | ({"pad_token": pad_token} if pad_token else {})


def _generation_config(tokenizer: Tokenizer) -> dict[str, Any]:
    ends = (tokenizer.token_to_id(token) for token in (_END_OF_TEXT, _EOM, _EOT))
    return {
        "bos_token_id": tokenizer.token_to_id(_BOS),
        "eos_token_id": [end for end in ends if end is not None],
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
    }


def _chat_template(release: Release) -> str:
    body = (Path(__file__).parent / "chat_templates" / release.template).read_text("utf-8")
    date = f"{{%- set default_date = {release.default_date} %}}\n" if release.default_date else ""
    return date + body


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
