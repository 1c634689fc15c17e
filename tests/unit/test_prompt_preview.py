"""What people see of a prompt."""

import io
import json
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from gateway.prompt.preview import render_file

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "Hi<|eot_id|>"}]}]
CALLED = {
    "messages": [
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "no"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "chat_template_kwargs": {"preamble": False},
}


def stream(value: object) -> io.BytesIO:
    return io.BytesIO(json.dumps(value).encode())


def test_json_holds_tokens_and_text(llama3_folder: Path) -> None:
    preview = render_file(llama3_folder, None, stream({"messages": MESSAGES}))

    told = json.loads(preview.to_json())

    assert told["tokens"][0] == 128000
    assert told["tokens"].count(128009) == 2
    assert told["text"].endswith(
        "Hi<|eot_id|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_bare_list_is_a_conversation(chatml_folder: Path) -> None:
    bare = render_file(chatml_folder, None, stream(MESSAGES))

    assert bare == render_file(chatml_folder, None, stream({"messages": MESSAGES}))


def test_tools_calls_and_options_are_read(llama3_folder: Path) -> None:
    text = render_file(llama3_folder, "llama-3.1", stream(CALLED)).prompt.text

    assert '"name": "f"' in text
    assert '{"name": "f", "parameters": {}}<|eot_id|>' in text
    assert "Today Date" not in text


def test_control_tokens_are_set_apart_from_the_same_text_typed(llama3_folder: Path) -> None:
    styled = render_file(llama3_folder, "llama-3", stream(MESSAGES)).to_styled()
    colored = [span for span in styled.spans if "cyan" in str(span.style)]

    assert [styled.plain[span.start : span.end] for span in colored] == [
        "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
        "<|start_header_id|>", "<|end_header_id|>",
    ]  # fmt: skip
    assert styled.plain.endswith("\n18 tokens")


@pytest.mark.parametrize(
    "source",
    [b"", b"{}", b'{"messages": [{"role": "wizard"}]}', b'[{"content": "x"}]', b'"x"'],
    ids=["empty", "no messages", "role", "no role", "string"],
)
def test_what_is_no_conversation_is_refused(chatml_folder: Path, source: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not a conversation"):
        render_file(chatml_folder, None, io.BytesIO(source))
