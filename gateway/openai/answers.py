"""What clients receive, as schemas for the OpenAPI page. Nothing is rendered through them.

Names and shapes are the OpenAI API reference's. A field with a default may be left out.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.openai.parts import DEPRECATED


class AnswerModel(BaseModel):
    """Every field that can occur is listed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PromptTokensDetails(AnswerModel):
    cached_tokens: int = Field(description="Tokens found in the KV cache instead of computed.")


class CompletionUsage(AnswerModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(AnswerModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobEntry(AnswerModel):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob] = Field(max_length=20)


class ChatLogprobs(AnswerModel):
    content: list[TokenLogprobEntry]
    refusal: None


class FunctionCallAnswer(AnswerModel):
    name: str
    arguments: str = Field(description="A JSON object as text.")


class ToolCallAnswer(AnswerModel):
    id: str
    type: Literal["function"]
    function: FunctionCallAnswer


class AssistantMessage(AnswerModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallAnswer] = []
    function_call: FunctionCallAnswer | None = Field(
        None, description="With functions.", json_schema_extra=DEPRECATED
    )


class ChatChoice(AnswerModel):
    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"]
    token_ids: list[int] = Field([], description="Extension: with return_token_ids.")


class ChatCompletion(AnswerModel):
    """The whole answer to `POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    prompt_token_ids: list[int] = Field([], description="Extension: with return_token_ids.")


class FunctionCallPart(AnswerModel):
    name: str = Field("", description="In the first part of a call.")
    arguments: str


class ToolCallPart(AnswerModel):
    index: int
    id: str = Field("", description="In the first part of a call.")
    type: Literal["function"] = "function"
    function: FunctionCallPart


class ChatDelta(AnswerModel):
    role: Literal["assistant"] = Field("assistant", description="In a choice's first chunk.")
    content: str = ""
    refusal: None = None
    tool_calls: list[ToolCallPart] = []
    function_call: FunctionCallPart | None = Field(
        None, description="With functions.", json_schema_extra=DEPRECATED
    )


class ChatChunkChoice(AnswerModel):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls", "function_call"] | None
    token_ids: list[int] = Field([], description="Extension: with return_token_ids.")


class ChatCompletionChunk(AnswerModel):
    """The data of one event of a chat stream; after the last comes `[DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: CompletionUsage | None = Field(None, description="With stream_options.include_usage.")
    prompt_token_ids: list[int] = Field([], description="Extension: with return_token_ids.")


class CompletionLogprobs(AnswerModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(AnswerModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None = Field(description="Null before the end.")
    token_ids: list[int] = Field([], description="Extension: with return_token_ids.")


class Completion(AnswerModel):
    """The answer to `POST /v1/completions`, whole or the data of one event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = Field(
        None, description="In a stream with stream_options.include_usage."
    )


class ModelAnswer(AnswerModel):
    """A model that requests can name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int = Field(description="Extension: tokens of prompt and answer together.")
    features: list[str] = Field(
        description="Extension: what its engine can do, or all of its replicas can."
    )
    parent: str = Field("", description="Extension: the model that a LoRA adapter is for.")


class ModelList(AnswerModel):
    """The models of this gateway."""

    object: Literal["list"]
    data: list[ModelAnswer]


class TokenList(AnswerModel):
    """The answer to `POST /v1/tokenize`."""

    tokens: list[int]
    count: int
    max_model_len: int


class DetokenizedText(AnswerModel):
    """The answer to `POST /v1/detokenize`."""

    prompt: str


class Version(AnswerModel):
    """Which gateway this is."""

    version: str


class Health(AnswerModel):
    """Whether the gateway lives, or can serve."""

    status: Literal["live", "ready", "not ready"]
    reason: str = Field("", description="Why it is not ready.")


class ErrorObject(AnswerModel):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The parameter at fault, as a path.")
    code: str


class ErrorResponse(AnswerModel):
    """What every failure answers."""

    error: ErrorObject
