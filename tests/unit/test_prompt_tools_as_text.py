"""Tools for templates that have no form for them."""

from pathlib import Path

from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.fakes import tiny_tokenizer

WEATHER = Tool("weather", "The forecast.", {"type": "object"})


def rendered(folder: Path, *messages: Message, tools: tuple[Tool, ...] = ()) -> str:
    tokenizer = Tokenizer.load(folder)
    renderer = PromptRenderer(tokenizer, template_for(tokenizer))
    return renderer.render(Conversation(messages, tools)).text


def test_tools_are_told_in_a_system_message_of_their_own() -> None:
    text = rendered(tiny_tokenizer(), Message(Role.USER, "Rain?"), tools=(WEATHER,))

    assert text.startswith("<|im_start|>system\nYou can call these functions")
    assert '"name": "weather"' in text
    assert text.index("weather") < text.index("<|im_start|>user\nRain?")


def test_tools_are_added_to_the_system_message_that_is_there() -> None:
    messages = Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Rain?")

    text = rendered(tiny_tokenizer(), *messages, tools=(WEATHER,))

    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call")
    assert text.count("<|im_start|>system") == 1


def test_calls_and_results_stay_in_the_conversation() -> None:
    call = Message(Role.ASSISTANT, tool_calls=(ToolCall("1", "weather", '{"city": "Oslo"}'),))
    result = Message(Role.TOOL, "dry", tool_call_id="1")

    text = rendered(tiny_tokenizer(), Message(Role.USER, "Rain?"), call, result)

    assert '{"name": "weather", "parameters": {"city": "Oslo"}}<|im_end|>' in text
    assert "The function returned:\ndry<|im_end|>" in text


def test_arguments_that_are_no_object_stay_as_they_are() -> None:
    call = Message(Role.ASSISTANT, tool_calls=(ToolCall("1", "weather", '{"city'),))

    text = rendered(tiny_tokenizer(), Message(Role.USER, "Rain?"), call)

    assert '{"name": "weather", "parameters": {"city}<|im_end|>' in text
