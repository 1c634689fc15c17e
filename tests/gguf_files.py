"""Small GGUF files for tests: metadata and no weights."""

from collections.abc import Mapping
from pathlib import Path

from gguf import GGUFWriter
from tokenizers.pre_tokenizers import ByteLevel

BYTES = sorted(ByteLevel.alphabet())
TOKENS = [*BYTES, "he", "ll", "hell", "hello", "12", "<|end|>", "<think>"]
END, THINK = TOKENS.index("<|end|>"), TOKENS.index("<think>")
LLAMA = {
    "general.architecture": "llama",
    "llama.context_length": 512,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [*[1] * (len(TOKENS) - 2), 3, 4],
    "tokenizer.ggml.merges": ["h e", "l l", "he ll", "hell o", "1 2"],
    "tokenizer.ggml.bos_token_id": END,
    "tokenizer.ggml.eos_token_id": END,
    "tokenizer.chat_template": "{{ messages }}",
}


def write_gguf(path: Path, values: Mapping[str, object]) -> Path:
    """Write a GGUF that holds these strings, integers, floats, flags and arrays."""
    writer = GGUFWriter(str(path), str(values["general.architecture"]))
    for key, value in values.items():
        if key != "general.architecture":
            _add(writer, key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: object) -> None:
    add = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float64,
        str: writer.add_string,
        list: writer.add_array,
    }[type(value)]
    add(key, value)
