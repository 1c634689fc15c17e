"""The bodies clients send, field by field, with the ranges they are held to.

Names and ranges are the OpenAI API reference's; those marked "Extension" are this project's or
vLLM's. What a field comes to is decided elsewhere. Null always means absent.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.openai.integers import Whole
from gateway.openai.parts import (
    DEPRECATED,
    ConversationFields,
    JsonObject,
    Messages,
    RequestModel,
    ResponseFormat,
    StreamOptions,
    Text,
    Word,
)
from gateway.traffic import size

INT32 = 2**31
INT64 = 2**63

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
ModelId = Annotated[Word, Field(description="A model's id or alias.")]


def _few_biases(given: object) -> object:
    """Refuse too many before any is looked at: pydantic would first collect what is wrong."""
    if isinstance(given, dict) and len(given) > size.MAX_BIASES:
        raise PydanticCustomError(
            "too_long", "Object should have at most {most} names", {"most": size.MAX_BIASES}
        )
    return given


TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$", max_length=9)]
TokenBiases = Annotated[
    dict[TokenKey, Bias],
    Field(max_length=size.MAX_BIASES, json_schema_extra={"additionalProperties": False}),
    BeforeValidator(_few_biases),
]
TokenId = Annotated[int, Field(ge=0, lt=INT32), Whole()]
TokenIds = Annotated[list[TokenId], Field(max_length=size.MAX_VALUES, fail_fast=True)]
TokenCount = Annotated[int, Field(ge=1, lt=INT32), Whole()]
Stop = Annotated[str, Field(max_length=size.MAX_STOP)]
Stops = Annotated[list[Stop], Field(max_length=size.MAX_STOPS, fail_fast=True)]
StopIds = Annotated[list[TokenId], Field(max_length=size.MAX_STOP_IDS, fail_fast=True)]
BadWords = Annotated[list[Word], Field(max_length=size.MAX_BAD_WORDS, fail_fast=True)]
Regex = Annotated[str, Field(max_length=size.MAX_REGEX)]
Grammar = Annotated[str, Field(max_length=size.MAX_GRAMMAR)]
SchemaText = Annotated[str, Field(max_length=size.MAX_SCHEMA)]
Options = Annotated[list[Grammar], Field(max_length=size.MAX_OPTIONS, fail_fast=True)]
Modalities = Annotated[list[Word], Field(max_length=size.MAX_MODALITIES, fail_fast=True)]
Prompts = Annotated[list[Text], Field(max_length=size.MAX_CHOICES, fail_fast=True)]
IdPrompts = Annotated[list[TokenIds], Field(max_length=size.MAX_CHOICES, fail_fast=True)]


class GenerationRequest(RequestModel):
    """What chat and text completions have in common."""

    model: ModelId
    stream: bool | None = Field(None, description="Answer as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="Only with stream: true.")

    temperature: Temperature | None = Field(
        None, description="0 is greedy. Default: the model's own, else 1."
    )
    top_p: Probability | None = Field(
        None, description="0 is greedy. Default: the model's own, else 1."
    )
    n: Annotated[int, Field(ge=1, le=size.MAX_SEQUENCES), Whole()] | None = Field(
        None, description="Needs the engine's num_return_sequences."
    )
    seed: Annotated[int, Field(ge=-INT64, lt=INT64), Whole()] | None = Field(
        None, description="The same seed and parameters give the same answer. Default: a new one."
    )
    stop: Stop | Stops | None = Field(
        None, description="Texts that end the answer, of which OpenAI takes 4; none may be empty."
    )
    frequency_penalty: Penalty | None = Field(None, description="0 is none.")
    presence_penalty: Penalty | None = Field(None, description="0 is none.")
    logit_bias: TokenBiases | None = Field(
        None, description="Token id to bias. Needs the engine's embedding_bias."
    )

    top_k: Annotated[int, Field(ge=-1, lt=INT32), Whole()] | None = Field(
        None, description="Extension. 0 and -1 keep the whole vocabulary."
    )
    min_p: Probability | None = Field(
        None, description="Refused above 0: Triton's models have no tensor for it. Extension."
    )
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Extension. 1 is none. Needs the engine's repetition_penalty."
    )
    min_tokens: Annotated[int, Field(ge=0, lt=INT32), Whole()] | None = Field(
        None,
        description="Extension. At most the room for the answer. Needs the engine's min_tokens.",
    )
    ignore_eos: bool | None = Field(
        None, description="Extension: go on past end tokens. Needs the engine's stop words."
    )
    stop_token_ids: StopIds | None = Field(
        None,
        description="Extension: further ids that end the answer. Needs the engine's stop words.",
    )
    bad_words: BadWords | None = Field(
        None,
        description="Extension: text not to be produced. Needs the engine's bad_words_list.",
    )
    skip_special_tokens: bool | None = Field(
        None, description="Extension. Default true; false needs an engine that returns token ids."
    )
    include_stop_str_in_output: bool | None = Field(
        None, description="Extension: keep the stop text that was met."
    )
    return_token_ids: bool | None = Field(
        None,
        description="Extension: prompt_token_ids, and token_ids in every choice. "
        "Needs an engine that returns token ids.",
    )
    response_format: ResponseFormat | None = Field(
        None, description="What text must be; calls stay possible. Needs guided decoding."
    )
    guided_json: JsonObject | SchemaText | None = Field(
        None, description="Extension: a JSON schema. Needs guided decoding."
    )
    guided_regex: Regex | None = Field(
        None, description="Extension: a regular expression. Needs guided decoding."
    )
    guided_grammar: Grammar | None = Field(
        None, description="Extension: an EBNF grammar. Needs guided decoding."
    )
    guided_choice: Options | None = Field(
        None, description="Extension: one of these texts. Needs guided decoding."
    )
    structured_outputs: JsonObject | None = Field(
        None,
        description="Extension: an object with one of json, regex, grammar, choice, json_object. "
        "Needs guided decoding.",
    )


class ChatCompletionRequest(ConversationFields, GenerationRequest):
    """The body of `POST /v1/chat/completions`."""

    messages: Messages = Field(description="The conversation; content is text or parts of text.")
    max_completion_tokens: TokenCount | None = Field(
        None, description="Default: the context that is left."
    )
    max_tokens: TokenCount | None = Field(
        None, description="Read as max_completion_tokens.", json_schema_extra=DEPRECATED
    )
    logprobs: bool | None = Field(None, description="Needs the engine's return_log_probs.")
    top_logprobs: Annotated[int, Field(ge=0, le=20), Whole()] | None = Field(
        None,
        description="Needs logprobs, and the engine's num_top_log_probs: others tell the chosen "
        "token's alone, which is 1 where decoding is greedy.",
    )
    parallel_tool_calls: bool | None = Field(
        None, description="False keeps the first call only. Default true."
    )
    add_special_tokens: bool | None = Field(
        None, description="Refused unless false: the chat template writes them. Extension."
    )
    modalities: Modalities | None = Field(None, description="Refused unless it is text alone.")
    echo: bool | None = Field(
        None, description="Extension: with continue_final_message, repeat that message."
    )


class CompletionRequest(GenerationRequest):
    """The body of `POST /v1/completions`."""

    prompt: Text | Prompts | TokenIds | IdPrompts = Field(
        union_mode="left_to_right",
        description="A text, texts, token ids, or lists of token ids.",
    )
    max_tokens: Annotated[int, Field(ge=0, lt=INT32), Whole()] | None = Field(
        None, description="Default: the context that is left. 0 only with echo."
    )
    logprobs: Annotated[int, Field(ge=0, le=5), Whole()] | None = Field(
        None,
        description="0 gives the chosen token's; above needs the engine's num_top_log_probs, but "
        "1 where decoding is greedy. Needs return_log_probs; with echo, the engine's "
        "num_prompt_log_probs and max_tokens of 1 at least.",
    )
    echo: bool | None = Field(None, description="Repeat the prompt before the answer.")
    best_of: Annotated[int, Field(ge=1, le=size.MAX_CANDIDATES), Whole()] | None = Field(
        None,
        description="Return the n likeliest of so many; above n not in a stream. "
        "Needs the engine's num_return_sequences and return_log_probs.",
    )
    suffix: Text | None = Field(None, description="Refused unless empty.")
    parse_special_tokens: bool | None = Field(
        None,
        description="Extension: read control tokens that the text spells. Default false: "
        "whoever writes a part of the text could end a turn and open another.",
    )
    add_special_tokens: bool | None = Field(
        None, description="Extension: open text with the model's BOS. Default true."
    )


class TokenizeRequest(ConversationFields):
    """The body of `POST /v1/tokenize`: a prompt, or messages as chat takes them."""

    model: ModelId
    prompt: Text | None = Field(None, description="Raw text, as a completion takes it.")
    messages: Messages | None = Field(None, description="A conversation, as chat takes it.")
    parse_special_tokens: bool | None = Field(
        None,
        description="Extension: read control tokens that the prompt spells. Default false: "
        "whoever writes a part of the text could end a turn and open another.",
    )
    add_special_tokens: bool | None = Field(
        None, description="Extension: open the prompt with the model's BOS. Default true."
    )


class DetokenizeRequest(RequestModel):
    """The body of `POST /v1/detokenize`."""

    model: ModelId
    tokens: TokenIds = Field(description="Token ids of the model's vocabulary.")
