"""OpenAI's tools and tool_choice, with the deprecated functions and function_call, as our types."""

from typing import Any

from pydantic import ValidationError

from gateway.errors import InvalidRequest
from gateway.openai.messages import parse_function, parse_tool
from gateway.openai.parts import ConversationFields
from gateway.output.tools.choice import Allowed, Auto, Named, NoTools, Required, ToolChoice
from gateway.prompt.conversation import Tool

MODES: dict[str, ToolChoice] = {"auto": Auto(), "none": NoTools(), "required": Required()}


def parse_tools(body: ConversationFields) -> tuple[Tool, ...]:
    """Return the tools a request declares. Raises InvalidRequest for two of one name."""
    tools = [parse_tool(tool, f"tools[{i}]") for i, tool in enumerate(body.tools or ())]
    tools += [parse_function(one, f"functions[{i}]") for i, one in enumerate(body.functions or ())]
    names = [tool.name for tool in tools]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidRequest(f"The tool {name!r} is declared twice.", param=f"tools[{i}]")
    return tuple(tools)


def parse_tool_choice(body: ConversationFields, tools: tuple[Tool, ...]) -> ToolChoice:
    """Return which tools may or must be called; without tools, none can be."""
    param, given = "tool_choice", body.tool_choice
    if given is None:
        param, given = "function_call", body.function_call
    if given is None:
        return Auto() if tools else NoTools()
    choice = _parse(given, param)
    if not tools and not isinstance(choice, NoTools | Auto):
        raise InvalidRequest(f"{param!r} is given, but there are no tools.", param=param)
    declared = {tool.name for tool in tools}
    for name in _names(choice):
        if name not in declared:
            raise InvalidRequest(f"{param!r} names {name!r}, which is not a tool.", param=param)
    return choice if tools else NoTools()


def offered(tools: tuple[Tool, ...], choice: ToolChoice) -> tuple[Tool, ...]:
    """Return the tools the model is told of: those it may call."""
    if isinstance(choice, NoTools):
        return ()
    if isinstance(choice, Allowed):
        return tuple(tool for tool in tools if tool.name in choice.names)
    return tools


def needs_arguments(tool: Tool) -> bool:
    """Whether a call of a tool without arguments would lack some."""
    return bool(tool.parameters and tool.parameters.get("required"))


def _parse(given: str | dict[str, Any], param: str) -> ToolChoice:
    if isinstance(given, str):
        if given not in MODES:
            raise InvalidRequest(f"{param!r} must be one of {', '.join(MODES)}.", param=param)
        return MODES[given]
    try:
        return _parse_object(given)
    except (KeyError, TypeError, ValidationError) as error:
        raise InvalidRequest(f"{param!r} has a form that is not known.", param=param) from error


def _parse_object(given: dict[str, Any]) -> ToolChoice:
    if given.get("type") == "allowed_tools":
        allowed = given["allowed_tools"]
        names = tuple(_name(tool) for tool in allowed["tools"])
        return Allowed(names, required={"auto": False, "required": True}[allowed["mode"]])
    if given.get("type", "function") != "function":
        raise KeyError("type")
    return Named(_name(given))


def _name(given: dict[str, Any]) -> str:
    name = given["function"]["name"] if "function" in given else given["name"]
    if not isinstance(name, str):
        raise TypeError("name")
    return name


def _names(choice: ToolChoice) -> tuple[str, ...]:
    if isinstance(choice, Named):
        return (choice.name,)
    return choice.names if isinstance(choice, Allowed) else ()
