"""The answer of a text-only model: whatever it echoes, and however its text is split."""

from collections.abc import Callable
from random import Random

import pytest
from tokenizers import AddedToken, Tokenizer

from gateway.generation import Prompt
from gateway.output.assistant import AssistantExtractor, echoes_of
from gateway.output.vocabulary import Vocabulary
from tests.seeds import seeds
from tests.steps import growth
from tests.unit.splitting import pieces
from tests.unit.tokenizer_backends import byte_level

BOS, START, END, EOT = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"

SPECIALS = (BOS, START, END, EOT)


def llama3_backend() -> Tokenizer:
    backend = byte_level()
    backend.add_special_tokens(
        [AddedToken(token, special=True) for token in (BOS, START, END, EOT)]
    )
    return backend


BACKEND = llama3_backend()
VOCABULARY = Vocabulary.from_backend(BACKEND)


def turn(role: str, content: str) -> str:
    return f"{START}{role}{END}\n\n{content}"


def prompt_of(text: str) -> Prompt:
    alphabet = {chr(i): VOCABULARY.tokens.index(bytes([i])) for i in range(128)}
    ids: list[int] = []
    while text:
        special = next((s for s in SPECIALS if text.startswith(s)), "")
        ids.append(BACKEND.get_vocab()[special] if special else alphabet[text[0]])
        text = text[len(special) or 1 :]
    return Prompt(tuple(ids), BACKEND.decode(ids, skip_special_tokens=False))


PROMPT_TEXT = (
    f"{BOS}{turn('system', 'Be brief.')}{EOT}{turn('user', 'Hi')}{EOT}"
    f"{turn('assistant', 'Yes?')}{EOT}{turn('user', 'Who are you?')}{EOT}{turn('assistant', '')}"
)
ECHOES = echoes_of(prompt_of(PROMPT_TEXT), VOCABULARY)


def shown(text: str) -> str:
    return text


def hidden(text: str) -> str:
    for special in SPECIALS:
        text = text.replace(special, "")
    return text


def extracted(text: str, seed: int = 0) -> tuple[str, bool]:
    extractor = AssistantExtractor(ECHOES)
    answer = "".join(extractor.push(piece) for piece in pieces(text, seed)) + extractor.flush()
    return answer, extractor.ended


LAST_HEADER = turn("assistant", "")
BEFORE = {
    "full-echo": PROMPT_TEXT,
    "echo-without-bos": PROMPT_TEXT.removeprefix(BOS),
    "echo-without-control-tokens": hidden(PROMPT_TEXT),
    "echo-of-the-last-turn": turn("user", f"Who are you?{EOT}{LAST_HEADER}"),
    "echo-of-the-header": LAST_HEADER,
    "echo-of-the-header-cut": LAST_HEADER.removeprefix(START),
    "echo-of-the-header-without-control-tokens": "assistant\n\n",
    "no-echo": "",
}
ANSWERS = ["I am Llama.", "\n\nassistant", "Yes?", "Hi", "Be brief.system\n\n", "An assistant\n\na"]
AFTER = {
    "nothing": "",
    "end": EOT,
    "run-on": f"{EOT}{turn('assistant', 'More.')}{EOT}",
    "run-on-without-its-end": turn("user", "More."),
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_answer_is_what_lies_between_header_and_end(
    before: str, answer: str, after: str
) -> None:
    text = BEFORE[before] + answer + AFTER[after]

    assert extracted(text) == (answer, after != "nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("I am Llama.assistant\n\nMore.", "I am Llama.", id="after-a-sentence"),
        pytest.param("Sure 😊assistant\n\nMore", "Sure 😊", id="after-an-emoji"),
        pytest.param("Sure ☺️assistant\n\n", "Sure ☺️", id="after-an-emoji-with-selector"),
        pytest.param("はい。assistant\n\n", "はい。", id="after-an-ideographic-full-stop"),
    ],
)
def test_a_run_on_without_control_tokens_is_cut(text: str, expected: str) -> None:
    assert extracted(text) == (expected, True)


@pytest.mark.parametrize(
    "text",
    [
        "I am a helpful assistant\n\nWhat else?",
        "assistantassistant\n\n",
        "Roles: user, assistant\n\n",
        "Done.assistant",
        "Done.assistant\n",
    ],
)
def test_a_word_that_may_belong_to_the_answer_is_kept(text: str) -> None:
    assert extracted(text) == (text, False)


def test_a_header_in_the_answer_is_text_where_control_tokens_are_shown() -> None:
    assert extracted(f"{PROMPT_TEXT}It reads.assistant\n\n{EOT}") == (
        "It reads.assistant\n\n",
        True,
    )


def test_a_prefilled_answer_goes_on_after_its_echo() -> None:
    echoes = echoes_of(
        prompt_of(f"{BOS}{turn('user', 'Go')}{EOT}{turn('assistant', 'On')}"), VOCABULARY
    )
    extractor = AssistantExtractor(echoes)

    assert extractor.push("assistant\n\nOnce") + extractor.flush() == "ce"


def test_a_prompt_without_turns_is_only_cut_whole() -> None:
    echoes = echoes_of(prompt_of("Once upon"), VOCABULARY)
    extractor = AssistantExtractor(echoes)

    assert extractor.push("Once upon a time") + extractor.flush() == " a time"


@pytest.mark.parametrize("seed", range(8))
def test_of_two_echoes_that_match_the_longer_is_cut(seed: int) -> None:
    header = turn("assistant", "")
    extractor = AssistantExtractor(echoes_of(prompt_of(f"{BOS}{header}{EOT}{header}"), VOCABULARY))

    text = "".join(map(extractor.push, pieces(f"{header}{EOT}{header}Yes", seed)))

    assert text + extractor.flush() == "Yes"


def test_an_answer_is_passed_on_as_soon_as_it_is_no_echo() -> None:
    extractor = AssistantExtractor(ECHOES)

    assert [extractor.push(delta) for delta in ("s", "y", "stem ", "two.", "a", "b")] == [
        "",
        "",
        "system ",
        "two.",
        "",
        "ab",
    ]


FRAGMENTS = [
    *BEFORE.values(),
    *ANSWERS,
    *AFTER.values(),
    ".",
    "assistant\n\n",
    "assist",
    "ant\n\n",
    EOT[:5],
]


@seeds(10_000)
def test_every_split_reads_the_same(seed: int) -> None:
    text = "".join(Random(seed).choices(FRAGMENTS, k=seed % 5))

    assert extracted(text, seed) == extracted(text, seed=whole_seed(text))


def whole_seed(text: str) -> int:
    """A seed for which the text comes in at most two pieces."""
    return next(seed for seed in range(100) if len(list(pieces(text, seed))) < 3)


@pytest.mark.parametrize("unit", ["word. ", ".assistant\n", "<|eot"])
def test_cost_is_linear_in_the_length_of_the_text(unit: str) -> None:
    def reading(size: int) -> Callable[[], object]:
        extractor = AssistantExtractor(ECHOES)
        text = PROMPT_TEXT + unit * (size // len(unit))
        deltas = [text[i : i + 4] for i in range(0, len(text), 4)]
        return lambda: [extractor.push(delta) for delta in deltas]

    assert growth(reading, 10_000, 100_000) < 10.5
