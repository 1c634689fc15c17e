"""Which template a model's conversations are written with. Renders nothing itself."""

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from gateway.errors import InvalidRequest
from gateway.prompt import llama
from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall
from gateway.prompt.jinja import OWN_TEMPLATE, JinjaTemplate
from gateway.prompt.llama import Llama3Template
from gateway.prompt.pieces import ChatTemplate, Piece, joined
from gateway.prompt.tokenizer import Tokenizer
from gateway.prompt.tools_as_text import ToolsAsText

_NO_DEFAULTS: Mapping[str, Any] = MappingProxyType({})
_CHAT = (
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "One?"),
    Message(Role.ASSISTANT, "Two."),
    Message(Role.USER, "Three?"),
)
_CALL = ToolCall("call_1", "weather", '{"city": "Oslo", "days": 2}')
_TOOL = Tool("weather", "The forecast.", {"type": "object", "properties": {"city": {}}})
_SAMPLES = (
    Conversation(_CHAT),
    Conversation(_CHAT[1:]),
    Conversation((*_CHAT[:2], Message(Role.ASSISTANT, tool_calls=(_CALL,))), tools=(_TOOL,)),
)
Clock = Callable[[], datetime]


def template_for(
    tokenizer: Tokenizer,
    name: str | None = None,
    *,
    defaults: Mapping[str, Any] = _NO_DEFAULTS,
    clock: Clock = datetime.now,
) -> ChatTemplate:
    """Return the template called `name`: a Llama 3 release, or `tokenizer` for its own Jinja.

    Without a name it is the Llama 3 release that writes sample conversations as the tokenizer's
    own template does, else that template. Where it has no form for tools, they are told in
    words. `defaults` are template kwargs below the caller's; `clock` tells templates the date.
    Raises ValueError where there is no such template.
    """
    template = _template(tokenizer, name, defaults, clock)
    return template if template.knows_tools else ToolsAsText(template)


def _template(
    tokenizer: Tokenizer, name: str | None, defaults: Mapping[str, Any], clock: Clock
) -> ChatTemplate:
    if name in llama.RELEASES:
        return Llama3Template(tokenizer, name, defaults=defaults, clock=clock)
    if name not in (None, OWN_TEMPLATE):
        known = ", ".join((*llama.RELEASES, OWN_TEMPLATE))
        raise ValueError(f"there is no chat template {name!r}; known are {known}")
    if name is None and (release := _matching_release(tokenizer, clock)):
        return Llama3Template(tokenizer, release, defaults=defaults, clock=clock)
    return _own_template(tokenizer, defaults, clock)


class _ByTools:
    """Two templates of one tokenizer: one for conversations with tools, one for the others."""

    name = OWN_TEMPLATE
    knows_tools = True

    def __init__(self, plain: ChatTemplate, with_tools: ChatTemplate) -> None:
        self._plain = plain
        self._with_tools = with_tools

    def render(self, conversation: Conversation) -> list[Piece]:
        calls = any(message.tool_calls for message in conversation.messages)
        template = self._with_tools if conversation.tools or calls else self._plain
        return template.render(conversation)


def _own_template(tokenizer: Tokenizer, defaults: Mapping[str, Any], clock: Clock) -> ChatTemplate:
    sources = tokenizer.chat_templates
    if "default" not in sources:
        known = ", ".join(llama.RELEASES)
        raise ValueError(f"the tokenizer has no chat template; name a built-in one of {known}")
    compiled = {
        name: JinjaTemplate(tokenizer, sources[name], defaults=defaults, clock=clock)
        for name in ("default", "tool_use")
        if name in sources
    }
    plain = compiled["default"]
    return _ByTools(plain, compiled["tool_use"]) if "tool_use" in compiled else plain


def _matching_release(tokenizer: Tokenizer, clock: Clock) -> str | None:
    """Find the release whose every sample prompt, or refusal, is the own template's too."""
    own = _own_template(tokenizer, _NO_DEFAULTS, clock)
    for release in llama.RELEASES:
        if not tokenizer.control_ids.keys() >= llama.control_tokens(release):
            continue
        built_in = Llama3Template(tokenizer, release, defaults=_NO_DEFAULTS, clock=clock)
        if all(_written(own, sample) == _written(built_in, sample) for sample in _SAMPLES):
            return release
    return None


def _written(template: ChatTemplate, conversation: Conversation) -> list[Piece] | None:
    try:
        return joined(template.render(conversation))
    except InvalidRequest:
        return None
