"""What people see of a prompt."""

import io
import json
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from gateway.render import render_file

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "Hi<|im_end|>"}]}]
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
    preview = render_file(llama3_folder, None, stream(CALLED))

    told = json.loads(preview.to_json())

    assert told == {"tokens": list(preview.prompt.token_ids), "text": preview.prompt.text}
    assert '"name": "f"' in told["text"]
    assert '{"name": "f", "parameters": {}}<|eot_id|>' in told["text"]
    assert "Today Date" not in told["text"]


def test_a_bare_list_is_a_conversation(chatml_folder: Path) -> None:
    bare = render_file(chatml_folder, None, stream(MESSAGES))

    assert bare == render_file(chatml_folder, None, stream({"messages": MESSAGES}))


def test_control_tokens_are_set_apart_from_the_same_text_typed(chatml_folder: Path) -> None:
    preview = render_file(chatml_folder, None, stream(MESSAGES))
    styled = preview.to_styled()
    colored = [span for span in styled.spans if "cyan" in str(span.style)]

    assert styled.plain.startswith("<|im_start|>user\nHi<|im_end|><|im_end|>\n<|im_start|>")
    assert [styled.plain[span.start : span.end] for span in colored] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
    ]
    assert styled.plain.endswith(f"\n{len(preview.prompt.token_ids)} tokens")


@pytest.mark.parametrize(
    "source",
    [b"", b"{}", b'{"messages": [{"role": "wizard"}]}', b'[{"content": "x"}]', b'"x"'],
    ids=["empty", "no messages", "role", "no role", "string"],
)
def test_what_is_no_conversation_is_refused(chatml_folder: Path, source: bytes) -> None:
    with pytest.raises(InvalidRequest):
        render_file(chatml_folder, None, io.BytesIO(source))
