"""The instruct templates of Llama 3, 3.1, 3.2 and 3.3. Encodes nothing.

Format: Meta's prompt_format pages and `ChatFormat` of llama-models. Content is passed on as it
was sent, untrimmed, as Meta's reference does.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Conversation, Message, Role, ToolCall
from gateway.prompt.functions import Unread, call_arguments, call_json, tool_schema
from gateway.prompt.pieces import Control, Piece, Text, check_turns
from gateway.prompt.tokenizer import Tokenizer

RELEASES = ("llama-3", "llama-3.1", "llama-3.2", "llama-3.3")

_BEGIN_OF_TEXT = "<|begin_of_text|>"
_START_HEADER_ID = "<|start_header_id|>"
_END_HEADER_ID = "<|end_header_id|>"
_EOT_ID = "<|eot_id|>"
_EOM_ID = "<|eom_id|>"
_PYTHON_TAG = "<|python_tag|>"
_HEADERS = {
    Role.SYSTEM: "system",
    Role.DEVELOPER: "system",
    Role.USER: "user",
    Role.ASSISTANT: "assistant",
    Role.TOOL: "ipython",
}
_ANSWER_FORM = (
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and'
    " its value}.Do not use variables.\n\n"
)
_TOOLS_IN_SYSTEM = (
    "You have access to the following functions. To call a function, please respond with JSON for"
    f" a function call.{_ANSWER_FORM}"
)
_TOOLS_IN_USER = (
    "Given the following functions, please respond with a JSON for a function call with its proper"
    f" arguments that best answers the given prompt.\n\n{_ANSWER_FORM}"
)


def control_tokens(release: str) -> frozenset[str]:
    """Return the control tokens that the release's template writes."""
    common = frozenset({_BEGIN_OF_TEXT, _START_HEADER_ID, _END_HEADER_ID, _EOT_ID})
    return common if release == "llama-3" else common | {_EOM_ID, _PYTHON_TAG}


class _Options(msgspec.Struct, frozen=True):
    """What callers may set through template kwargs; other names are left to other templates."""

    preamble: bool
    date_string: str
    builtin_tools: list[str]
    tools_in_user_message: bool


class Llama3Template:
    """Writes conversations as one Llama 3 release was trained to read them.

    From 3.1 on, template kwargs switch the knowledge and date header (`preamble`), set its date
    (`date_string`), offer `builtin_tools`, and choose the place of tools
    (`tools_in_user_message`). Without the header this is Meta's plain form.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        release: str,
        *,
        defaults: Mapping[str, Any],
        clock: Callable[[], datetime],
    ) -> None:
        """Raise ValueError where the tokenizer lacks one of the release's control tokens."""
        self.name = release
        self._defaults = defaults
        self._clock = clock
        self._controls = {token: _control(tokenizer, token) for token in control_tokens(release)}

    @property
    def knows_tools(self) -> bool:
        return self.name != "llama-3"

    def render(self, conversation: Conversation) -> list[Piece]:
        check_turns(conversation)
        options = self._options({**self._defaults, **conversation.template_kwargs})
        self._check_release(conversation, options)
        prompt: list[Piece] = [self._controls[_BEGIN_OF_TEXT]]
        first = conversation.messages[0]
        has_system = _HEADERS[first.role] == "system"
        opening = self._system_opening(conversation, options)
        if has_system or opening:
            prompt += self._open("system") + _texts(opening, first.content if has_system else "")
            prompt.append(self._controls[_EOT_ID])
        prompt += self._turns(conversation, options, start=int(has_system))
        if conversation.continue_final_message:
            prompt.pop()
        elif conversation.add_generation_prompt:
            prompt += self._open("assistant")
        return prompt

    def _turns(self, conversation: Conversation, options: _Options, *, start: int) -> list[Piece]:
        tools_at = _tools_place(conversation, options)
        pieces: list[Piece] = []
        for index, message in enumerate(conversation.messages[start:], start):
            pieces += self._open(_HEADERS[message.role])
            if index == tools_at:
                pieces.append(Text(_TOOLS_IN_USER + _schemas(conversation)))
            pieces += self._body(message, options)
            ends_message = message.tool_calls and options.builtin_tools
            pieces.append(self._controls[_EOM_ID if ends_message else _EOT_ID])
        return pieces

    def _open(self, header: str) -> list[Piece]:
        start, end = self._controls[_START_HEADER_ID], self._controls[_END_HEADER_ID]
        return [start, Text(header), end, Text("\n\n")]

    def _system_opening(self, conversation: Conversation, options: _Options) -> str:
        """What stands in the system message before the caller's own words."""
        uses_tools = bool(conversation.tools or options.builtin_tools)
        listed = ", ".join(name for name in options.builtin_tools if name != "code_interpreter")
        header = f"Cutting Knowledge Date: December 2023\nToday Date: {options.date_string}\n\n"
        in_system = conversation.tools and not options.tools_in_user_message
        return "".join(
            [
                "Environment: ipython\n" * uses_tools,
                f"Tools: {listed}\n\n" if listed else "",
                header * options.preamble,
                _TOOLS_IN_SYSTEM + _schemas(conversation) if in_system else "",
            ]
        )

    def _body(self, message: Message, options: _Options) -> list[Piece]:
        pieces: list[Piece] = []
        text = message.content
        for position, call in enumerate(message.tool_calls):
            text += "; " if position else ""
            if call.name in options.builtin_tools:
                pieces += [*_texts(text), self._controls[_PYTHON_TAG]]
                text = _builtin_call(call)
            else:
                text += call_json(call)
        return pieces + _texts(text)

    def _options(self, kwargs: Mapping[str, Any]) -> _Options:
        has_header = self.name != "llama-3"
        return _Options(
            preamble=_option(kwargs, "preamble", bool, True) and has_header,
            date_string=_option(kwargs, "date_string", str, self._default_date()),
            builtin_tools=_builtin_tools(kwargs),
            tools_in_user_message=_option(kwargs, "tools_in_user_message", bool, True),
        )

    def _default_date(self) -> str:
        """3.1 and 3.3 were published with one fixed date, 3.2 with the day of the request."""
        return self._clock().strftime("%d %b %Y") if self.name == "llama-3.2" else "26 Jul 2024"

    def _check_release(self, conversation: Conversation, options: _Options) -> None:
        if self.knows_tools:
            return
        if conversation.tools or options.builtin_tools:
            raise InvalidRequest("Llama 3 has no form for tools; 3.1 and later do.", param="tools")
        for index, message in enumerate(conversation.messages):
            if message.role is Role.TOOL or message.tool_calls:
                raise InvalidRequest(
                    "Llama 3 has no form for tool calls and their results; 3.1 and later do.",
                    param=f"messages[{index}]",
                )


def _control(tokenizer: Tokenizer, token: str) -> Control:
    number = tokenizer.control_ids.get(token)
    if number is None:
        raise ValueError(f"a Llama 3 template needs {token}, which the tokenizer does not have")
    return Control(number, token)


def _texts(*texts: str) -> list[Piece]:
    return [Text(text) for text in texts if text]


def _tools_place(conversation: Conversation, options: _Options) -> int | None:
    """The message that the tools go into, None where they stand in the system message."""
    if not (conversation.tools and options.tools_in_user_message):
        return None
    for index, message in enumerate(conversation.messages):
        if message.role is Role.USER:
            return index
    raise InvalidRequest(
        "Tools go into the first user message, and there is none; "
        "set tools_in_user_message to false to put them into the system message.",
        param="messages",
    )


def _schemas(conversation: Conversation) -> str:
    schemas = [tool_schema(tool) for tool in conversation.tools]
    return "".join(f"{_json(schema, indent=4)}\n\n" for schema in schemas)


def _builtin_call(call: ToolCall) -> str:
    arguments = call_arguments(call)
    if isinstance(arguments, Unread):
        return f"{call.name}.call({arguments.text})"
    code = arguments.get("code")
    if call.name == "code_interpreter" and isinstance(code, str):
        return code
    written = ", ".join(f"{name}={_json(value)}" for name, value in arguments.items())
    return f"{call.name}.call({written})"


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _builtin_tools(kwargs: Mapping[str, Any]) -> list[str]:
    names: list[Any] = _option(kwargs, "builtin_tools", list, [])
    if not all(isinstance(name, str) for name in names):
        raise _bad_option("builtin_tools", "a list of names")
    return names


def _option(kwargs: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = kwargs.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise _bad_option(name, f"of type {kind.__name__}")
    return value


def _bad_option(name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"{name} must be {wanted}.", param=f"chat_template_kwargs.{name}")
