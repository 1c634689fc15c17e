"""Jinja prompts against transformers, for callers who type nothing special."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from gateway.prompt.conversation import Conversation, Message, Role
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import CHAT, TOOL_CHAT, WEATHER

OPENAI_CHAT = [{"role": message.role.value, "content": message.content} for message in CHAT]
OPENAI_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Tromsø", "days": 2}},
        }
    ],
}
OPENAI_RESULT = {"role": "tool", "content": '{"rain": "5 mm"}', "tool_call_id": "call_1"}
OPENAI_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The forecast for a city.",
        "parameters": WEATHER.parameters,
    },
}
transformers_tokenizer = cache(AutoTokenizer.from_pretrained)
PREFILL = {"role": "assistant", "content": "No, "}


@pytest.mark.parametrize("folder", ["llama3_folder", "chatml_folder"], ids=["llama 3", "chatml"])
@pytest.mark.parametrize(
    ("conversation", "messages", "options"),
    [
        (Conversation(CHAT), OPENAI_CHAT, {"add_generation_prompt": True}),
        (Conversation(CHAT, add_generation_prompt=False), OPENAI_CHAT, {}),
        (
            Conversation((*CHAT, Message(Role.ASSISTANT, "No, ")), continue_final_message=True),
            [*OPENAI_CHAT, PREFILL],
            {"continue_final_message": True},
        ),
    ],
    ids=["chat", "closed", "prefill"],
)
def test_ids_equal_those_of_transformers(
    folder: str,
    conversation: Conversation,
    messages: list[dict[str, str]],
    options: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    path: Path = request.getfixturevalue(folder)
    tokenizer = Tokenizer.load(path)
    renderer = PromptRenderer(tokenizer, template_for(tokenizer, "tokenizer"))
    reference = transformers_tokenizer(path)

    prompt = renderer.render(conversation)

    assert prompt.text == reference.apply_chat_template(messages, tokenize=False, **options)
    assert list(prompt.token_ids) == reference.apply_chat_template(
        messages, return_dict=False, **options
    )


@pytest.mark.parametrize("in_user_message", [True, False], ids=["user", "system"])
def test_tools_and_calls_equal_those_of_transformers(
    llama3_folder: Path, llama3: Tokenizer, in_user_message: bool
) -> None:
    kwargs = {"tools_in_user_message": in_user_message}
    renderer = PromptRenderer(llama3, template_for(llama3))
    messages = [*OPENAI_CHAT, OPENAI_CALL, OPENAI_RESULT]

    prompt = renderer.render(Conversation(TOOL_CHAT, tools=(WEATHER,), template_kwargs=kwargs))

    reference = transformers_tokenizer(llama3_folder)
    assert list(prompt.token_ids) == reference.apply_chat_template(
        messages, tools=[OPENAI_TOOL], add_generation_prompt=True, return_dict=False, **kwargs
    )
