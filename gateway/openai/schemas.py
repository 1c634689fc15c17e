"""The bodies clients send, field by field, with the ranges they are held to.

Names and ranges are the OpenAI API reference's; those marked "Extension" are this project's or
vLLM's. What a field comes to is decided in `parse`, not here. Null always means absent.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonObject = dict[str, Any]
INT32 = 2**31
INT64 = 2**63

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
TokenKey = Annotated[str, Field(pattern=r"^\d{1,9}$")]
TokenId = Annotated[int, Field(ge=0, lt=INT32)]
TokenCount = Annotated[int, Field(ge=1, lt=INT32)]


class RequestModel(BaseModel):
    """JSON types are taken at their word: the string "1" is not the number 1."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())


class ContentPart(RequestModel):
    """One part of a message. Only text is read; other types are refused by name."""

    type: str
    text: str | None = None
    refusal: str | None = None


class FunctionCall(RequestModel):
    """A function's name and its arguments, a JSON object as text."""

    name: str
    arguments: str


class MessageToolCall(RequestModel):
    """A call the assistant made earlier in the conversation."""

    id: str
    type: str = "function"
    function: FunctionCall | None = None


class ChatMessage(RequestModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None


class FunctionDefinition(RequestModel):
    """A function the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class ToolDefinition(RequestModel):
    """A tool; only those of type `function` are known here."""

    type: str
    function: FunctionDefinition | None = None


class StreamOptions(RequestModel):
    """What a stream tells besides the answer."""

    include_usage: bool | None = Field(None, description="Send the usage in a last chunk.")
    continuous_usage_stats: bool | None = Field(
        None, description="Extension: with include_usage, the usage so far in every chunk."
    )
    include_obfuscation: bool | None = Field(None, description="Accepted and ignored.")


class JsonSchemaFormat(RequestModel):
    """A JSON schema the answer must follow."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    json_schema: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestModel):
    """The form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class GenerationRequest(RequestModel):
    """What chat and text completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="Only with stream: true.")

    temperature: Temperature | None = Field(
        None, description="0 is greedy. Default: the model's own, else 1."
    )
    top_p: Probability | None = Field(
        None, description="0 is greedy. Default: the model's, else 1."
    )
    n: Annotated[int, Field(ge=1, le=128)] | None = Field(
        None, description="Needs the engine's num_return_sequences."
    )
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenKey, Bias], Field(max_length=1024)] | None = Field(
        None, description="Token id to bias. Needs the engine's embedding_bias."
    )
    user: str | None = Field(None, description="Accepted and ignored.")

    top_k: Annotated[int, Field(ge=-1, lt=INT32)] | None = Field(
        None, description="Extension. 0 and -1 keep the whole vocabulary."
    )
    min_p: Probability | None = Field(
        None, description="Extension. Refused above 0: TensorRT-LLM's Triton model has no tensor."
    )
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Extension. 1 is none."
    )
    min_tokens: Annotated[int, Field(ge=0, lt=INT32)] | None = Field(
        None, description="Extension. At most the maximum number of tokens."
    )
    ignore_eos: bool | None = Field(None, description="Extension: go on past end tokens.")
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = Field(
        None, description="Extension: further token ids that end the answer."
    )
    bad_words: Annotated[list[str], Field(max_length=64)] | None = Field(
        None, description="Extension: text the engine must not produce."
    )
    skip_special_tokens: bool | None = Field(None, description="Extension. Default true.")
    include_stop_str_in_output: bool | None = Field(None, description="Extension.")
    return_token_ids: bool | None = Field(
        None, description="Extension: prompt_token_ids, and token_ids in every choice."
    )
    response_format: ResponseFormat | None = Field(None, description="Needs guided decoding.")
    guided_json: JsonObject | str | None = Field(None, description="Extension: a JSON schema.")
    guided_regex: str | None = Field(None, description="Extension: a regular expression.")
    guided_grammar: str | None = Field(None, description="Extension: an EBNF grammar.")
    guided_choice: list[str] | None = Field(None, description="Extension: one of these texts.")
    structured_outputs: JsonObject | None = Field(
        None, description="Extension: an object with json, regex, grammar, choice or json_object."
    )


class ConversationFields(RequestModel):
    """What a prompt is rendered from."""

    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: str | JsonObject | None = None
    functions: Annotated[list[FunctionDefinition], Field(max_length=128)] | None = Field(
        None, description="Deprecated form of tools."
    )
    function_call: str | JsonObject | None = Field(
        None, description="Deprecated form of tool_choice."
    )
    reasoning_effort: str | None = Field(None, description="Handed to the chat template.")
    chat_template_kwargs: JsonObject | None = Field(
        None, description="Extension: handed to the chat template."
    )
    add_generation_prompt: bool | None = Field(None, description="Extension. Default true.")
    continue_final_message: bool | None = Field(
        None, description="Extension: the model goes on with the last, assistant's, message."
    )


class ChatCompletionRequest(ConversationFields, GenerationRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: TokenCount | None = Field(
        None, description="Default: the context that is left."
    )
    max_tokens: TokenCount | None = Field(
        None, description="Deprecated name of max_completion_tokens."
    )
    logprobs: bool | None = Field(None, description="Needs the engine's return_log_probs.")
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Refused above 0: engines tell the chosen token's alone."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="False keeps the first call only. Default true."
    )
    modalities: list[str] | None = Field(None, description="Only text.")
    echo: bool | None = Field(
        None, description="Extension: repeat the last message if it is the assistant's."
    )


class CompletionRequest(GenerationRequest):
    """The body of `POST /v1/completions`."""

    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    max_tokens: Annotated[int, Field(ge=0, lt=INT32)] | None = Field(
        None, description="Default: the context that is left. 0 only with echo."
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = Field(
        None, description="0 and 1 give the chosen token's; above 1 is refused."
    )
    echo: bool | None = Field(None, description="Repeat the prompt before the answer.")
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    suffix: str | None = Field(None, description="Refused unless empty.")


class TokenizeRequest(ConversationFields):
    """The body of `POST /v1/tokenize`: a prompt, or messages as chat takes them."""

    model: str
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None


class DetokenizeRequest(RequestModel):
    """The body of `POST /v1/detokenize`."""

    model: str
    tokens: list[TokenId]
