"""SmolLM2's tokenizer, read from its GGUF, against two other readers of the same file."""

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from build_engine.gguf import Gguf
from build_engine.gguf_tokenizer import build_tokenizer
from build_engine.progress import silent
from build_engine.smollm2 import cache_folder, fetch

TEXTS = (
    "",
    " ",
    "Hello, world!",
    "In 2024 there were 1,234,567 of 89; 3.14159 and 0x1F.",
    "٣٤٥ x² ½ Ⅷ \uff14\uff12",
    "naïve café, Ünïcödé ﬁ ligature",
    "你好\uff0c世界。こんにちは 안녕하세요 สวัสดี",
    "😀👩‍👩‍👧‍👦🇩🇪 ❤️",
    "مرحبا بالعالم שלום",
    "  leading\n\n\n  and\ttabs \r\n trailing   ",
    "don't WON'T I'll we've he'd 's 'S",
    "def f(x):\n    return {'a': [1, 2], **x}  # ok",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "typed <|endoftext|> and <|nothing|> <file_sep>",
    "a" * 500,
    "https://example.com/a?b=c&d=%20#e",
    "\u200bzero\u00a0width\ufeff",
    "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}",
)  # fmt: skip


@pytest.fixture(scope="module")
def gguf() -> Gguf:
    return Gguf.read(fetch(cache_folder(), silent))


@pytest.fixture(scope="module")
def ids(gguf: Gguf) -> list[list[int]]:
    tokenizer = build_tokenizer(gguf)
    return [tokenizer.encode(text).ids for text in TEXTS]


def test_it_equals_the_one_of_transformers_with_digits_split_one_by_one(
    gguf: Gguf, ids: list[list[int]]
) -> None:
    reference = _transformers_reading(gguf)

    assert [reference.encode(text).ids for text in TEXTS] == ids
    assert [reference.decode(each, skip_special_tokens=False) for each in ids] == list(TEXTS)


def test_without_the_digit_rule_it_would_differ(gguf: Gguf, ids: list[list[int]]) -> None:
    reference = _transformers_reading(gguf)
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    assert [reference.encode(text).ids for text in TEXTS] != ids


def test_it_equals_the_one_the_engine_has(gguf: Gguf, ids: list[list[int]]) -> None:
    openvino_genai = pytest.importorskip("openvino_genai")
    engine = openvino_genai.Tokenizer(str(gguf.path))

    encoded = [engine.encode(text, add_special_tokens=False).input_ids.data for text in TEXTS]

    assert [[int(token) for token in row[0]] for row in encoded] == ids


def _transformers_reading(gguf: Gguf) -> Tokenizer:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer

    named = {
        "tokenizer_type": "model",
        "pre_tokenizer_type": "pre",
        "tokens": "tokens",
        "token_type": "token_type",
        "merges": "merges",
    }
    values = {name: gguf.values[f"tokenizer.ggml.{key}"] for name, key in named.items()}
    tokenizer: Tokenizer = convert_gguf_tokenizer("llama", values)[0]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
