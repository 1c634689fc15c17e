"""Conversations and raw text to prompts of token ids. Knows no template's form."""

from array import array
from collections.abc import Sequence

import msgspec

from gateway.errors import InvalidRequest
from gateway.generation import Prompt
from gateway.prompt.cache import text_cache
from gateway.prompt.context import ANY_LENGTH, Context
from gateway.prompt.conversation import Conversation, Message
from gateway.prompt.pieces import ChatTemplate, Control, Piece, Text
from gateway.prompt.tokenizer import Tokenizer, well_formed
from gateway.prompt.widths import Unknown, Widths
from gateway.traffic.lanes import Errand, Lanes

_CACHE_BYTES = 64 * 1024 * 1024
# New text beyond this is encoded off the event loop: 4,096 characters take about two milliseconds.
_INLINE_CHARS = 4096
# So are conversations rendered that hold more than this, and ids decoded.
_INLINE_MESSAGES = 256
_INLINE_CONTENT = 2**17
_INLINE_TOOLS = 8
_INLINE_IDS = 2**12
# Text that fits has some four characters a token: with so many it is looked at.
_SUSPECT = 8
_NOBODY = Errand()


class Reading(msgspec.Struct, frozen=True):
    """How raw text becomes tokens.

    With `parse_special`, control tokens that it spells count as such; with `add_special` it is
    opened by the model's BOS, unless it opens so itself.
    """

    parse_special: bool = False
    add_special: bool = True


PLAIN = Reading()


class PromptRenderer:
    """Writes prompts for one model; safe to share between threads and tasks.

    Every text between control tokens is encoded once and its ids kept, `cache_bytes` of them, so
    a conversation that grows is not encoded from its start again. What cannot fit a context is
    refused by its length, as far as `widths` tell, before it is encoded.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        cache_bytes: int = _CACHE_BYTES,
        widths: Widths | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._cache = text_cache(cache_bytes)
        self._widths = widths or Unknown()
        self._lanes = Lanes("encode")

    def render(self, conversation: Conversation, context: Context = ANY_LENGTH) -> Prompt:
        """Return the prompt of a conversation.

        Raises InvalidRequest where it has no form, ContextTooLong where it cannot fit.
        """
        return self._assemble(self.pieces(conversation), context)

    async def render_async(
        self, conversation: Conversation, context: Context = ANY_LENGTH
    ) -> Prompt:
        """Like `render`, without holding up the event loop for what is long."""
        num_chars = sum([_num_chars(message) for message in conversation.messages])
        if _is_short(conversation, num_chars):
            return await self._assemble_async(self.pieces(conversation), context)

        def work(errand: Errand) -> Prompt:
            self._check_fits([message.content for message in conversation.messages], context)
            return self._assemble(self.pieces(conversation), context, errand)

        return await self._lanes.run(num_chars, work)

    def pieces(self, conversation: Conversation) -> list[Piece]:
        """Return what the template writes; raise InvalidRequest where it has no form."""
        try:
            return self.template.render(conversation)
        except RecursionError as error:
            raise InvalidRequest("Tools or arguments are nested too deeply.") from error

    def encode_text(self, text: str, reading: Reading = PLAIN) -> Prompt:
        """Return the prompt of raw text, opened by the model's BOS once unless told otherwise."""
        return self._assemble(self._raw(text, reading, ANY_LENGTH), ANY_LENGTH)

    async def encode_text_async(
        self, text: str, reading: Reading = PLAIN, *, context: Context = ANY_LENGTH
    ) -> Prompt:
        """Like `encode_text`, without holding up the event loop for long texts.

        Raises ContextTooLong where the text cannot fit.
        """
        if len(text) <= _INLINE_CHARS or not reading.parse_special:
            return await self._assemble_async(self._raw(text, reading, context), context)

        def work(errand: Errand) -> Prompt:
            return self._assemble(self._raw(text, reading, context), context, errand)

        return await self._lanes.run(len(text), work)

    def from_ids(
        self, token_ids: Sequence[int], *, context: Context = ANY_LENGTH, with_text: bool = True
    ) -> Prompt:
        """Return the prompt of ids as they are, with their text where it is needed.

        Raises ContextTooLong for too many, InvalidRequest for one out of range.
        """
        context.check_least(len(token_ids))
        self.check_ids(token_ids, context.param)
        text = self.tokenizer.decode(token_ids, skip_special=False) if with_text else ""
        return Prompt(token_ids=tuple(token_ids), text=text)

    async def decode_async(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """Return the text of ids, without holding up the event loop for many."""

        def work(_: Errand) -> str:
            return self.tokenizer.decode(token_ids, skip_special=skip_special)

        num_ids = len(token_ids)
        return work(_NOBODY) if num_ids <= _INLINE_IDS else await self._lanes.run(num_ids, work)

    def check_ids(self, token_ids: Sequence[int], param: str) -> None:
        """Raise InvalidRequest naming `param` for an id that is not in the vocabulary."""
        vocab_size = self.tokenizer.vocab_size
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < vocab_size:
            wrong = next(one for one in token_ids if not 0 <= one < vocab_size)
            raise InvalidRequest(
                f"Token id {wrong} is not in the vocabulary of {vocab_size} tokens.", param=param
            )

    def close(self) -> None:
        """Let go of the encoding threads."""
        self._lanes.close()

    def _raw(self, text: str, reading: Reading, context: Context) -> list[Piece]:
        pieces: list[Piece] = [self.tokenizer.opening(text)]
        if reading.parse_special:
            context.check_least(self.tokenizer.count_controls(text))
            pieces = self.tokenizer.split(text)
        bos_id = self.tokenizer.bos_id
        is_opened = bool(pieces) and getattr(pieces[0], "token_id", None) == bos_id
        if bos_id is None or is_opened or not reading.add_special:
            return pieces
        return [Control(bos_id, self.tokenizer.decode([bos_id], skip_special=False)), *pieces]

    async def _assemble_async(self, pieces: list[Piece], context: Context) -> Prompt:
        texts = [piece.text for piece in pieces if isinstance(piece, Text)]
        num_new = sum(len(text) for text in texts if text not in self._cache)
        if num_new <= _INLINE_CHARS:
            return self._assemble(pieces, context)
        return await self._lanes.run(
            num_new, lambda errand: self._assemble(pieces, context, errand)
        )

    def _assemble(self, pieces: list[Piece], context: Context, errand: Errand = _NOBODY) -> Prompt:
        self._check_fits([piece.text for piece in pieces if isinstance(piece, Text)], context)
        token_ids: list[int] = []
        for piece in pieces:
            context.check_least(len(token_ids))
            if isinstance(piece, Control):
                token_ids.append(piece.token_id)
            elif errand.is_wanted:
                token_ids.extend(self._encode(piece.text))
        text = well_formed("".join([piece.text for piece in pieces]))
        return Prompt(token_ids=tuple(token_ids), text=text)

    def _check_fits(self, texts: Sequence[str], context: Context) -> None:
        """Raise ContextTooLong for texts that cannot fit whatever they say."""
        if sum(map(len, texts)) > _SUSPECT * context.max_model_len:
            context.check_least(sum(map(self._widths.least, texts)))

    def _encode(self, text: str) -> Sequence[int]:
        known = self._cache.get(text)
        if known is not None:
            return known
        token_ids = self.tokenizer.encode(text)
        self._cache.put(text, array("I", token_ids))
        return token_ids


def _num_chars(message: Message) -> int:
    return len(message.content) + sum(len(call.arguments) for call in message.tool_calls)


def _is_short(conversation: Conversation, num_chars: int) -> bool:
    return (
        num_chars <= _INLINE_CONTENT
        and len(conversation.messages) <= _INLINE_MESSAGES
        and len(conversation.tools) <= _INLINE_TOOLS
        and not any(isinstance(one, list | dict) for one in conversation.template_kwargs.values())
    )
