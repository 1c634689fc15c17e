"""Forms compiled to guides: each once as long as it is remembered, off the event loop.

Whatever a form is, it becomes a grammar here, checked and in the words that all engines share. An
engine that finds a fault itself may end every request it has in hand (TensorRT-LLM's
guidedDecoder.cpp compiles within its loop).
"""

import sys
from collections.abc import Callable, Mapping

import orjson

from gateway.generation import Guide, GuideKind
from gateway.guides.ebnf import check_grammar
from gateway.guides.errors import TooLarge, Unenforceable
from gateway.guides.forms import Form, Language, refusal
from gateway.guides.grammar import Literal, choice, ebnf
from gateway.guides.regex import pattern_grammar
from gateway.guides.schema import schema_grammar
from gateway.traffic.cache import ByteCache
from gateway.traffic.lanes import LONG_BYTES, Errand, Lanes
from gateway.traffic.size import MAX_GUIDE

_CACHE_BYTES = 16 * 2**20
_ENTRY_BYTES = 500
_INLINE_BYTES = {
    Language.SCHEMA: 0,  # two bounds of a number take as long as a thousand properties
    Language.REGEX: 48,
    Language.GRAMMAR: 256,
    Language.CHOICE: 1024,
}
"""What takes a millisecond at most is compiled where it is asked for."""
_LONG_FORM = 2**11
"""Forms of more bytes are not compiled before shorter ones."""

Key = tuple[Language, bytes]
Outcome = str | Unenforceable


class GuideCompiler:
    """Turns forms into guides; safe between threads. One thread each for short and long ones."""

    def __init__(self, cache_bytes: int = _CACHE_BYTES) -> None:
        self._outcomes: ByteCache[Key, Outcome] = ByteCache(cache_bytes, _cost_bytes)
        self._lanes = Lanes("guides", threads=1)

    async def guide(self, form: Form) -> Guide | None:
        """Return what `compile` does, without holding up the event loop for what takes long.

        Raises Overloaded too, where too much waits to be compiled.
        """
        num_bytes = len(form.text)
        if (
            num_bytes <= _INLINE_BYTES[form.language]
            or (form.language, form.text) in self._outcomes
        ):
            return self.compile(form)

        def work(_: Errand) -> Guide | None:
            return self.compile(form)

        return await self._lanes.run(num_bytes * LONG_BYTES // _LONG_FORM, work)

    def compile(self, form: Form) -> Guide | None:
        """Return the guide of a form, None of one that does not bind.

        Raises InvalidRequest naming the parameter that no engine can be held to.
        """
        outcome = self._outcome(form.language, form.text)
        if isinstance(outcome, Unenforceable):
            raise refusal(_param(form, outcome), outcome)
        return Guide(GuideKind.EBNF_GRAMMAR, outcome, form.source) if form.binds else None

    def close(self) -> None:
        """Let go of the threads."""
        self._lanes.close()

    def _outcome(self, language: Language, text: bytes) -> Outcome:
        known = self._outcomes.get((language, text))
        if known is not None:
            return known
        outcome: Outcome
        try:
            outcome = _GRAMMARS[language](text)
        except Unenforceable as error:
            outcome = error.with_traceback(None)
        self._outcomes.put((language, text), outcome)
        return outcome


def _param(form: Form, error: Unenforceable) -> str:
    parts = form.parts
    if isinstance(error, TooLarge) and len(parts) > 1:
        return form.param
    return parts.get(error.within, form.param)


def _cost_bytes(key: Key, outcome: Outcome) -> int:
    kept = outcome if isinstance(outcome, str) else outcome.reason
    return sys.getsizeof(key[1]) + sys.getsizeof(kept) + _ENTRY_BYTES


def _schema(text: bytes) -> str:
    return schema_grammar(orjson.loads(text))


def _regex(text: bytes) -> str:
    return ebnf({"root": pattern_grammar(text.decode())})


def _grammar(text: bytes) -> str:
    grammar = text.decode()
    check_grammar(grammar)
    return grammar


def _choice(text: bytes) -> str:
    grammar = ebnf({"root": choice(*map(Literal, orjson.loads(text)))})
    if len(grammar) > MAX_GUIDE:
        raise TooLarge(f"as a grammar it has more than {MAX_GUIDE:,} characters")
    return grammar


_GRAMMARS: Mapping[Language, Callable[[bytes], str]] = {
    Language.SCHEMA: _schema,
    Language.REGEX: _regex,
    Language.GRAMMAR: _grammar,
    Language.CHOICE: _choice,
}

COMPILER = GuideCompiler()
"""The process's own: what one model's callers ask for, another's do as well."""
