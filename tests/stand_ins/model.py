"""A Llama of real sizes, but for its weights: what a tokenizer and a config file tell of it."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from build_engine.shapes import Shape

_WORDS, _SPECIALS = 128_000, 256
_WEIGHTS_BYTES = 24_000_000


def hugging_face_config(shape: Shape) -> dict[str, object]:
    """Return config.json of a model of a shape, as the hub has it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.max_positions,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "intermediate_size": shape.intermediate,
    }


def write_model(folder: Path, shape: Shape) -> None:
    """Write a model repository of the hub, with files in it that must not be fetched."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(hugging_face_config(shape)))
    header = b'{"__metadata__":{}}'
    weights = len(header).to_bytes(8, "little") + header + b"\0" * _WEIGHTS_BYTES
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "pytorch_model.bin").write_bytes(b"may run code when it is read")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.safetensors").write_bytes(b"twice the download")


def write_tokenizer(folder: Path, num_words: int = _WORDS) -> None:
    """Write a tokenizer of so many tokens and 256 special ones, that merges nothing."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"w{number}" for number in range(num_words - len(alphabet))]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *words])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    reserved = [f"<|reserved_{number}|>" for number in range(_SPECIALS - len(specials))]
    tokenizer.add_special_tokens([*specials, *reserved])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|eot_id|>"}')
    (folder / "generation_config.json").write_text('{"eos_token_id": [128001, 128002]}')
