"""The assistant's answer in what a text-only model returns. Knows no token of the answer.

Such a model may return the prompt before its answer, wholly, from some turn on, or not at all,
with or without control tokens; and it may run on into a next turn.
"""

import unicodedata
from dataclasses import dataclass

from gateway.generation import Prompt
from gateway.output.detokenizer import detokenizer_for
from gateway.output.stops import StopMatcher
from gateway.output.vocabulary import Vocabulary

# Closing punctuation, that of Chinese and Japanese too, and the selector that ends many emoji.
_LAST_CHARACTERS = ".!?)]}\u2026\u3002\uff01\uff1f\u00bb\u201d\ufe0f"


@dataclass(frozen=True, slots=True)
class Turns:
    """How a model marks turns.

    `start` opens one and `ends` end one; `header` is how an assistant's turn begins where its
    control tokens are not shown.
    """

    start: str
    ends: tuple[str, ...]
    header: str


LLAMA3_TURNS = Turns(
    start="<|start_header_id|>",
    ends=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
    header="assistant\n\n",
)
CHATML_TURNS = Turns(
    start="<|im_start|>", ends=("<|im_end|>", "<|endoftext|>"), header="assistant\n"
)


def turns_of(vocabulary: Vocabulary) -> Turns:
    """Return how turns are marked, as the control tokens of a vocabulary tell."""
    return CHATML_TURNS if vocabulary.special([CHATML_TURNS.start]) else LLAMA3_TURNS


@dataclass(frozen=True, slots=True)
class Echo:
    """One way a prompt may come back: `text` from `start` on, control tokens in it or not."""

    text: str
    start: int
    shows_specials: bool


def echoes_of(
    prompt: Prompt, vocabulary: Vocabulary, turns: Turns = LLAMA3_TURNS
) -> tuple[Echo, ...]:
    """Return every way a prompt may come back: from its start or from a control token on.

    The header of the last turn is part of each, so that no answer is taken for an echo.
    """
    hidden = _echoes(prompt, vocabulary, turns, shows_specials=False)
    return (*hidden, *_echoes(prompt, vocabulary, turns, shows_specials=True))


class AssistantExtractor:
    """Finds the answer in one sequence's text, the same for every split of it.

    An echo is cut: of those that match, the longest. The answer ends at the first end token or
    turn start. Where control tokens are not shown it also ends at a header that can only be a
    run-on: one written straight after the end of a sentence, a closing bracket or an emoji.
    """

    def __init__(self, echoes: tuple[Echo, ...], turns: Turns = LLAMA3_TURNS) -> None:
        self._echoes = _EchoMatcher(echoes)
        self._ends = StopMatcher((turns.start, *turns.ends))
        self._run_on = _RunOn(turns.header)

    @property
    def ended(self) -> bool:
        """Whether the answer is over, so that the model need not go on."""
        return self._ends.stopped or self._run_on.found

    def push(self, text: str) -> str:
        """Return the part of the answer that is certain."""
        return self._answer(self._echoes.push(text))

    def flush(self) -> str:
        """Return what is held back: the text is over."""
        text = self._answer(self._echoes.flush())
        return text + self._cut(self._ends.flush()) + self._run_on.flush()

    def _answer(self, text: str) -> str:
        return self._cut(self._ends.push(text)) if text else ""

    def _cut(self, text: str) -> str:
        return text if self._echoes.shows_specials else self._run_on.push(text)


class _EchoMatcher:
    """Holds text back while a longer echo may still match it."""

    def __init__(self, echoes: tuple[Echo, ...]) -> None:
        self._open = [echo for echo in echoes if echo.start < len(echo.text)]
        self._held: list[str] = []
        self._read = 0
        self._length = 0
        self.shows_specials = False

    def push(self, text: str) -> str:
        if not self._open:
            return text
        self._held.append(text)
        self._open = [echo for echo in self._open if self._goes_on(echo, text)]
        self._read += len(text)
        return "" if self._open else self.flush()

    def flush(self) -> str:
        text = "".join(self._held)[self._length :]
        self._held.clear()
        self._open.clear()
        return text

    def _goes_on(self, echo: Echo, text: str) -> bool:
        """Compare an echo with the text that comes next, and note it once it is complete."""
        position = echo.start + self._read
        left = len(echo.text) - position
        if left > len(text):
            return echo.text.startswith(text, position)
        if text.startswith(echo.text[position:]) and self._read + left > self._length:
            self._length = self._read + left
            self.shows_specials = echo.shows_specials
        return False


class _RunOn:
    """Cuts a text at a header that follows, with nothing between, what only ends a sentence."""

    def __init__(self, header: str) -> None:
        self._header = header
        self._last = ""
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        if self.found or not text:
            return ""
        text = self._held + text
        cut = self._find(text)
        self.found = cut >= 0
        if not self.found:
            cut = len(text) - self._num_held(text)
            self._held = text[cut:]
        self._last = text[cut - 1] if cut else self._last
        return text[:cut]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return "" if self.found else held

    def _find(self, text: str) -> int:
        position = text.find(self._header)
        while position >= 0 and not _ends_a_sentence(text[position - 1 : position] or self._last):
            position = text.find(self._header, position + 1)
        return position

    def _num_held(self, text: str) -> int:
        for length in range(min(len(self._header) - 1, len(text)), 0, -1):
            before = text[-length - 1 : -length] or self._last
            if text.endswith(self._header[:length]) and _ends_a_sentence(before):
                return length
        return 0


def _ends_a_sentence(char: str) -> bool:
    return bool(char) and (char in _LAST_CHARACTERS or unicodedata.category(char) == "So")


def _echoes(
    prompt: Prompt, vocabulary: Vocabulary, turns: Turns, shows_specials: bool
) -> list[Echo]:
    detokenizer = detokenizer_for(vocabulary, skip_special=not shows_specials)
    start_ids = vocabulary.special([turns.start])
    texts, length, starts, last_turn = [], 0, [0], 0
    for token_id in prompt.token_ids:
        texts.append(detokenizer.push((token_id,)))
        if token_id in vocabulary.special_ids:
            starts.append(length)
            starts.append(length + len(texts[-1]))
        length += len(texts[-1])
        last_turn = length if token_id in start_ids else last_turn
    text = "".join(texts) + detokenizer.flush()
    usable = sorted({start for start in starts if start <= last_turn})
    return [Echo(text, start, shows_specials) for start in usable]
