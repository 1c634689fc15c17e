"""Conversations and raw text to prompts of token ids. Knows no template's form."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.errors import InvalidRequest
from gateway.generation import Prompt
from gateway.prompt.cache import TextCache
from gateway.prompt.conversation import Conversation
from gateway.prompt.pieces import ChatTemplate, Control, Piece, Text
from gateway.prompt.tokenizer import Tokenizer, well_formed

_CACHE_BYTES = 64 * 1024 * 1024
# New text beyond this is encoded off the event loop: 4,096 characters take about two milliseconds.
_INLINE_CHARS = 4096
_ENCODING_THREADS = 2


class PromptRenderer:
    """Writes prompts for one model; safe to share between threads and tasks.

    Every text between control tokens is encoded once and its ids kept, `cache_bytes` of them, so
    a conversation that grows is not encoded from its start again.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate, *, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._cache = TextCache(cache_bytes)
        self._pool = ThreadPoolExecutor(_ENCODING_THREADS, thread_name_prefix="encode")

    def render(self, conversation: Conversation) -> Prompt:
        """Return the prompt of a conversation; raise InvalidRequest where it has no form."""
        return self._assemble(self.pieces(conversation))

    async def render_async(self, conversation: Conversation) -> Prompt:
        """Like `render`, without holding up the event loop for long texts."""
        return await self._assemble_async(self.pieces(conversation))

    def pieces(self, conversation: Conversation) -> list[Piece]:
        """Return what the template writes; raise InvalidRequest where it has no form."""
        try:
            return self.template.render(conversation)
        except RecursionError as error:
            raise InvalidRequest("Tools or arguments are nested too deeply.") from error

    def encode_text(self, text: str, *, parse_special: bool = False) -> Prompt:
        """Return the prompt of raw text, opened by the model's BOS exactly once.

        Control tokens that the text spells count as such only with `parse_special`.
        """
        return self._assemble(self._raw(text, parse_special))

    async def encode_text_async(self, text: str, *, parse_special: bool = False) -> Prompt:
        """Like `encode_text`, without holding up the event loop for long texts."""
        return await self._assemble_async(self._raw(text, parse_special))

    def from_ids(self, token_ids: Sequence[int]) -> Prompt:
        """Return the prompt of ids as they are; raise InvalidRequest for one out of range."""
        vocab_size = self.tokenizer.vocab_size
        for token_id in token_ids:
            if not 0 <= token_id < vocab_size:
                raise InvalidRequest(
                    f"Token id {token_id} is not in the vocabulary of {vocab_size} tokens.",
                    param="prompt",
                )
        text = self.tokenizer.decode(token_ids, skip_special=False)
        return Prompt(token_ids=tuple(token_ids), text=text)

    def close(self) -> None:
        """Let go of the encoding threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _raw(self, text: str, parse_special: bool) -> list[Piece]:
        pieces: list[Piece] = [self.tokenizer.opening(text)]
        if parse_special:
            pieces = self.tokenizer.split(text)
        bos_id = self.tokenizer.bos_id
        if bos_id is None or (pieces and getattr(pieces[0], "token_id", None) == bos_id):
            return pieces
        return [Control(bos_id, self.tokenizer.decode([bos_id], skip_special=False)), *pieces]

    async def _assemble_async(self, pieces: list[Piece]) -> Prompt:
        texts = [piece.text for piece in pieces if isinstance(piece, Text)]
        if sum(len(text) for text in texts if text not in self._cache) <= _INLINE_CHARS:
            return self._assemble(pieces)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._assemble, pieces)

    def _assemble(self, pieces: list[Piece]) -> Prompt:
        token_ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, Control):
                token_ids.append(piece.token_id)
            else:
                token_ids.extend(self._encode(piece.text))
        text = well_formed("".join([piece.text for piece in pieces]))
        return Prompt(token_ids=tuple(token_ids), text=text)

    def _encode(self, text: str) -> Sequence[int]:
        known = self._cache.get(text)
        if known is not None:
            return known
        token_ids = self.tokenizer.encode(text)
        self._cache.put(text, token_ids)
        return token_ids
