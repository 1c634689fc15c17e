"""A tokenizer as XGrammar wants to be told of it. Compiles no grammars.

TensorRT-LLM's C++ backend reads `encoded_vocab`, `tokenizer_str` and `stop_token_ids` from the
file that `xgrammar_tokenizer_info_path` names; NVIDIA's generate_xgrammar_tokenizer_info.py writes
the same three from a tokenizer of transformers.
"""

import json
from pathlib import Path

from build_engine.errors import BuildError


def tokenizer_info(folder: Path) -> dict[str, object]:
    """Return XGrammar's description of the tokenizer in a folder of Hugging Face files.

    The stop ids are all ends of an answer that generation_config.json knows, else the tokenizer's.
    Raises BuildError where ids are missing or there is no end.
    """
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    vocabulary = vocabulary_of(text, folder)
    stops = stop_ids(folder, vocabulary)
    if not stops:
        raise BuildError(f"{folder}: no file says which token ends an answer")
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    return {"encoded_vocab": ordered, "tokenizer_str": text, "stop_token_ids": stops}


def vocabulary_of(text: str, source: Path) -> dict[str, int]:
    """Return id by token of a tokenizer.json; raises BuildError unless the ids are 0 to n - 1."""
    try:
        content = json.loads(text)
        vocabulary = {
            str(token): int(number) for token, number in content["model"]["vocab"].items()
        }
        added = {str(token["content"]): int(token["id"]) for token in content["added_tokens"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{source}: tokenizer.json does not parse: {error!r}") from error
    merged = vocabulary | added
    if sorted(merged.values()) != list(range(len(merged))):
        raise BuildError(f"{source}: tokenizer.json has gaps or repetitions in its token ids")
    return merged


def stop_ids(folder: Path, vocabulary: dict[str, int]) -> list[int]:
    """Return the ids of the tokens that end an answer, in order."""
    generation = _json(folder / "generation_config.json").get("eos_token_id", [])
    listed = generation if isinstance(generation, list) else [generation]
    if not listed:
        eos = _json(folder / "tokenizer_config.json").get("eos_token")
        text = eos.get("content") if isinstance(eos, dict) else eos
        listed = [vocabulary[text]] if text in vocabulary else []
    return sorted(listed)


def _json(path: Path) -> dict[str, object]:
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
