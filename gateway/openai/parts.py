"""What bodies are made of: messages, tools, formats. Nothing is decided here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.traffic import size

JsonObject = Annotated[dict[str, Any], Field(max_length=size.MAX_PROPERTIES)]
Text = Annotated[str, Field(max_length=size.MAX_TEXT)]
Description = Annotated[str, Field(max_length=size.MAX_DESCRIPTION)]
Identifier = Annotated[str, Field(max_length=size.MAX_ID)]
Word = Annotated[str, Field(max_length=size.MAX_WORD)]
DEPRECATED: dict[str, Any] = {"deprecated": True}


class RequestModel(BaseModel):
    """JSON types are taken at their word: the string "1" is not the number 1."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class ContentPart(RequestModel):
    """One part of a message. Only text is read; other types are refused by name.

    `input_text` and `output_text` are what OpenAI's Responses call text.
    """

    type: Word
    text: Text | None = None
    refusal: Text | None = None


Part = Annotated[ContentPart | Text, Field(union_mode="left_to_right")]
Parts = Annotated[list[Part], Field(max_length=size.MAX_PARTS, fail_fast=True)]


class FunctionCall(RequestModel):
    """A function's name and its arguments: a JSON object as text, which a model may have cut."""

    name: Identifier
    arguments: Text | JsonObject | None = None


class MessageToolCall(RequestModel):
    """A call the assistant made earlier in the conversation."""

    id: Identifier
    type: Word = "function"
    function: FunctionCall | None = None


Calls = Annotated[list[MessageToolCall], Field(max_length=size.MAX_CALLS, fail_fast=True)]


class ChatMessage(RequestModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Parts | None = Field(None, union_mode="left_to_right")
    name: Identifier | None = None
    refusal: Text | None = None
    tool_calls: Calls | None = None
    tool_call_id: Identifier | None = None
    function_call: FunctionCall | None = None


Messages = Annotated[
    list[ChatMessage], Field(min_length=1, max_length=size.MAX_MESSAGES, fail_fast=True)
]


class FunctionDefinition(RequestModel):
    """A function the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$", max_length=size.MAX_NAME)]
    description: Description | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolDefinition(RequestModel):
    """A tool; only those of type `function` are known here.

    The function's fields may also stand beside the type, as in OpenAI's Responses.
    """

    type: Word
    function: FunctionDefinition | None = None


Tools = Annotated[list[ToolDefinition], Field(max_length=size.MAX_TOOLS, fail_fast=True)]
Functions = Annotated[list[FunctionDefinition], Field(max_length=size.MAX_TOOLS, fail_fast=True)]


class StreamOptions(RequestModel):
    """What a stream tells besides the answer."""

    include_usage: bool | None = Field(None, description="Send the usage in a last chunk.")
    continuous_usage_stats: bool | None = Field(
        None, description="Extension: with include_usage, the usage so far in every chunk."
    )
    include_obfuscation: bool | None = Field(None, description="Accepted and ignored.")


class JsonSchemaFormat(RequestModel):
    """A JSON schema the answer must follow."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", max_length=size.MAX_NAME)]
    description: Description | None = None
    json_schema: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """The form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class ConversationFields(RequestModel):
    """What a prompt is rendered from."""

    tools: Tools | None = Field(
        None, description="Functions the model may call; other types of tools are refused."
    )
    tool_choice: Word | JsonObject | None = Field(
        None,
        description="none, auto, required, one function, or allowed_tools. "
        "To force a call needs guided decoding.",
    )
    functions: Functions | None = Field(
        None,
        description="Read as tools; the answer has function_call.",
        json_schema_extra=DEPRECATED,
    )
    function_call: Word | JsonObject | None = Field(
        None,
        description="Read as tool_choice; a call that it forces ends with stop.",
        json_schema_extra=DEPRECATED,
    )
    reasoning_effort: Word | None = Field(None, description="Handed to the chat template.")
    chat_template_kwargs: JsonObject | None = Field(
        None, description="Extension: handed to the chat template."
    )
    add_generation_prompt: bool | None = Field(None, description="Extension. Default true.")
    continue_final_message: bool | None = Field(
        None, description="Extension: the model goes on with the last, assistant's, message."
    )
