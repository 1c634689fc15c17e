"""Small tokenizers with the decoders models have, built from nothing."""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIALS = ["<s>", "</s>", "<|python_tag|>"]
WORDS = ["hello", "world", "Paris", "a", "b", ".", ",", "é", "日本", "\n", " "]


def byte_level() -> Tokenizer:
    """A GPT-2-like vocabulary: all 256 bytes, pieces of characters, a few words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["Ġhello", "Ġworld", "the", "Ċ", "ĊĊ", "ðŁĺ", "Ģĥ", "æĹ", "¥æľ"]
    vocabulary = {token: index for index, token in enumerate([*alphabet, *words])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    backend.add_tokens(["<tool_call>", "naïve 日本"])
    return backend


def _sentencepiece_vocabulary() -> dict[str, int]:
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [f"{lead}{word}" for lead in ("", "▁") for word in WORDS]
    return {token: i for i, token in enumerate(["<unk>", *byte_tokens, "▁", "▁▁", *words])}


def llama2_like(leading_spaces: int = 1) -> Tokenizer:
    """A SentencePiece-like vocabulary with byte fallback; the text loses its leading space."""
    backend = Tokenizer(models.BPE(_sentencepiece_vocabulary(), [], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [decoders.Strip(" ", leading_spaces, 0)] if leading_spaces else []
    backend.decoder = decoders.Sequence([*steps, *strip])
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    return backend


def metaspace_like() -> Tokenizer:
    """A vocabulary whose first token alone loses its leading space."""
    backend = Tokenizer(models.BPE(_sentencepiece_vocabulary(), []))
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    return backend


def ids_of(backend: Tokenizer, *tokens: str) -> list[int]:
    """The ids of tokens as the vocabulary writes them."""
    return [backend.get_vocab()[token] for token in tokens]
