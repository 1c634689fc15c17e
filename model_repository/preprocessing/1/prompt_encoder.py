"""What preprocessing does: text tensors into id tensors. Knows no Triton API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Tensors = Mapping[str, NDArray[Any]]

DEFAULT_TOKENIZER_DIR = "tensorrt_llm/tokenizer"
# Where it exists, Llama 3 ends its turns with it, whatever its tokenizer calls its eos_token.
_END_OF_TURN = "<|eot_id|>"


class PromptEncoder:
    """Encodes prompts, words and defaults with the tokenizer of the model.

    Control tokens that are written out in the text count as control tokens: the caller has
    rendered the prompt. A BOS is added where the tokenizer adds one and the text has none yet.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, bos_id: int, end_id: int, pad_id: int, adds_special: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._bos_id = bos_id
        self._end_id = end_id
        self._pad_id = pad_id
        self._adds_special = adds_special

    @classmethod
    def load(cls, repository: Path, parameters: Mapping[str, str]) -> "PromptEncoder":
        """The encoder for a model repository; a relative `tokenizer_dir` is inside of it."""
        folder = repository / _parameter(parameters, "tokenizer_dir", DEFAULT_TOKENIZER_DIR)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "tokenizer_config.json").read_text())
        named = {name: _token_id(tokenizer, config.get(f"{name}_token")) for name in _NAMED}
        end_id = tokenizer.token_to_id(_END_OF_TURN)
        end_id = named["eos"] if end_id is None else end_id
        adds_special = _parameter(parameters, "add_special_tokens", "true").lower() == "true"
        return cls(
            tokenizer,
            bos_id=named["bos"],
            end_id=end_id,
            pad_id=end_id if named["pad"] < 0 else named["pad"],
            adds_special=adds_special,
        )

    def encode(self, tensors: Tensors) -> dict[str, NDArray[Any]]:
        """Output tensors by name, from input tensors by name, all with a batch of 1.

        Raises ValueError, naming the tensor.
        """
        prompts = _texts(tensors, "QUERY")
        if tensors["QUERY"].shape[0] != 1 or len(prompts) != 1:
            raise ValueError("tensor 'QUERY' must hold one prompt, with shape [1, 1]")
        ids = self.prompt_ids(prompts[0])
        return {
            "INPUT_ID": np.array([ids], np.int32),
            "REQUEST_INPUT_LEN": np.array([[len(ids)]], np.int32),
            "REQUEST_OUTPUT_LEN": tensors["REQUEST_OUTPUT_LEN"],
            "STOP_WORDS_IDS": self._words(tensors, "STOP_WORDS_DICT"),
            "BAD_WORDS_IDS": self._words(tensors, "BAD_WORDS_DICT"),
            "EMBEDDING_BIAS": self._bias(tensors),
            "OUT_END_ID": tensors.get("END_ID", np.array([[self._end_id]], np.int32)),
            "OUT_PAD_ID": tensors.get("PAD_ID", np.array([[self._pad_id]], np.int32)),
        }

    def prompt_ids(self, text: str) -> list[int]:
        """The ids of a prompt, with one BOS where the tokenizer puts one."""
        ids = self._plain_ids(text)
        if not self._adds_special or ids[:1] == [self._bos_id]:
            return ids
        with_special: list[int] = self._tokenizer.encode(text).ids
        return with_special

    def _plain_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _words(self, tensors: Tensors, name: str) -> NDArray[np.int32]:
        """[1, 2, N]: the ids of all words, and their end offsets padded with -1."""
        words = [ids for ids in map(self._plain_ids, _texts(tensors, name)) if ids]
        ids = [token for word in words for token in word]
        offsets = np.full(len(ids), -1, np.int32)
        offsets[: len(words)] = np.cumsum([len(word) for word in words])
        return np.array([[ids, offsets]], np.int32)

    def _bias(self, tensors: Tensors) -> NDArray[np.float32]:
        """[1, vocabulary], or [1, 0] without biased words; all tokens of a word get its weight."""
        words = _texts(tensors, "EMBEDDING_BIAS_WORDS")
        weights = tensors.get("EMBEDDING_BIAS_WEIGHTS", np.empty(0)).ravel().tolist()
        if len(words) != len(weights):
            raise ValueError(
                f"tensor 'EMBEDDING_BIAS_WEIGHTS' must hold {len(words)} values, one per word"
            )
        bias = np.zeros(self._tokenizer.get_vocab_size() if words else 0, np.float32)
        for word, weight in zip(words, weights, strict=True):
            bias[self._plain_ids(word)] += weight
        return bias[np.newaxis]


_NAMED = ("bos", "eos", "pad")


def _parameter(parameters: Mapping[str, str], name: str, default: str) -> str:
    value = parameters.get(name, "")
    return default if value in ("", f"${{{name}}}") else value


def _token_id(tokenizer: Tokenizer, token: str | dict[str, Any] | None) -> int:
    text = token["content"] if isinstance(token, dict) else token
    found = tokenizer.token_to_id(text) if text else None
    return -1 if found is None else found


def _texts(tensors: Tensors, name: str) -> list[str]:
    try:
        return [text.decode() for text in tensors.get(name, np.empty(0)).ravel() if text]
    except UnicodeDecodeError:
        raise ValueError(f"tensor '{name}' must be UTF-8") from None
