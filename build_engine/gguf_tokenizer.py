"""A GGUF's tokenizer as Hugging Face files. Imports no transformers; knows no repository."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from build_engine.gguf import BadGguf, Gguf
from build_engine.tokenizer import LLAMA3_SPLIT

_CONTROL, _USER_DEFINED = 3, 4
# Tokens by which the Llama 3 family ends an answer; its GGUFs record only one of them.
_ENDS_OF_ANSWER = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, bytes_only])


_PRE_TOKENIZERS: Mapping[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _llama3,
    "llama-v3": _llama3,
    "llama3": _llama3,
}


def write_tokenizer(gguf: Gguf, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json into a folder.

    Raises BadGguf where the GGUF holds a tokenizer of another kind than byte-level BPE, or one
    whose way of splitting text is not known here.
    """
    text = build_tokenizer(gguf).to_str(pretty=True)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(gguf))
    _write_json(folder / "generation_config.json", _generation_config(gguf))


def build_tokenizer(gguf: Gguf) -> Tokenizer:
    """Return the tokenizer that a GGUF describes; raises as `write_tokenizer` does."""
    kind, split = gguf.get("tokenizer.ggml.model", str), gguf.get("tokenizer.ggml.pre", str)
    if kind != "gpt2" or split not in _PRE_TOKENIZERS:
        raise BadGguf(
            f"{gguf.path} has a tokenizer of kind {kind!r}, pre-tokenizer {split!r}; only 'gpt2' "
            f"is known, with {', '.join(_PRE_TOKENIZERS)}: give its Hugging Face files instead"
        )
    tokens = gguf.get("tokenizer.ggml.tokens", list)
    merges = [tuple(pair.split(" ")) for pair in gguf.get("tokenizer.ggml.merges", list)]
    is_llama3 = _PRE_TOKENIZERS[split] is _llama3
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=is_llama3))
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[split]()
    tokenizer.decoder = decoders.ByteLevel()
    if gguf.values.get("tokenizer.ggml.add_bos_token", is_llama3):
        tokenizer.post_processor = _bos_first(gguf)
    _add_tokens(tokenizer, tokens, gguf.get("tokenizer.ggml.token_type", list))
    return tokenizer


def _bos_first(gguf: Gguf) -> processors.PostProcessor:
    bos = _special_tokens(gguf)["bos_token"]
    identifier = gguf.get("tokenizer.ggml.bos_token_id", int)
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, identifier)]
    )


def _add_tokens(tokenizer: Tokenizer, tokens: list[str], kinds: list[int]) -> None:
    by_kind = {
        kind: [
            AddedToken(token, normalized=False, special=kind == _CONTROL)
            for token, its_kind in zip(tokens, kinds, strict=True)
            if its_kind == kind
        ]
        for kind in (_CONTROL, _USER_DEFINED)
    }
    tokenizer.add_special_tokens(by_kind[_CONTROL])
    tokenizer.add_tokens(by_kind[_USER_DEFINED])


def _special_tokens(gguf: Gguf) -> dict[str, str]:
    tokens = gguf.get("tokenizer.ggml.tokens", list)
    keys = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    identifiers = {
        name: gguf.values.get(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()
    }
    return {
        f"{name}_token": tokens[identifier]
        for name, identifier in identifiers.items()
        if isinstance(identifier, int)
    }


def _tokenizer_config(gguf: Gguf) -> dict[str, object]:
    template = gguf.values.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **_special_tokens(gguf),
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": gguf.get("llama.context_length", int),
        "clean_up_tokenization_spaces": False,
        **({"chat_template": template} if template else {}),
    }


def _generation_config(gguf: Gguf) -> dict[str, object]:
    tokens = gguf.get("tokenizer.ggml.tokens", list)
    recorded = (
        gguf.values.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")
    )
    known = (tokens.index(token) for token in _ENDS_OF_ANSWER if token in tokens)
    ends = {identifier for identifier in (*recorded, *known) if isinstance(identifier, int)}
    ids = {
        "bos_token_id": gguf.values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": sorted(ends),
        "pad_token_id": gguf.values.get("tokenizer.ggml.padding_token_id"),
    }
    return {name: value for name, value in ids.items() if value is not None}


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
