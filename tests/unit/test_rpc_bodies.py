"""Request messages say what HTTP's bodies say, and faults are found where the message has them."""

import json
from typing import Any

import pytest
from google.protobuf import json_format

from gateway.errors import InvalidRequest
from gateway.openai import schemas
from gateway.rpc.bodies import chat_body, completion_body, detokenize_body, tokenize_body
from gateway.rpc.paths import field_message, field_path
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.completion_pb2 import CompletionRequest, Prompt
from gateway.v1.generation_pb2 import Output
from gateway.v1.tokenize_pb2 import DetokenizeRequest, TokenizeRequest
from tests.rpc import chat_request, completion_request

SCHEMA = {"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"z": 1}'}}

CHAT_FIELDS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0, "top_p": 0.5, "top_k": -1, "min_p": 0.25, "seed": -7},
    {"repetition_penalty": 1.5, "presence_penalty": -1.0, "frequency_penalty": 2.0},
    {"logit_bias": {"5": -100.0, "6": 1.5}},
    {"max_tokens": 7, "min_tokens": 3, "stop": ["a", "b"], "include_stop_str_in_output": True},
    {"stop_token_ids": [1, 2], "ignore_eos": True, "bad_words": ["x"]},
    {"n": 2, "logprobs": True, "return_token_ids": True, "skip_special_tokens": False},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
    {"guided_regex": "a+"},
    {"guided_grammar": 'root ::= "a"'},
    {"guided_choice": ["a", "b"]},
    {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": [TOOL], "tool_choice": "none"},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {
        "tools": [TOOL],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "auto",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        },
    },
    {"reasoning_effort": "low", "chat_template_kwargs": {"n": 1, "deep": {"x": [1.5, None, True]}}},
    {"add_generation_prompt": False, "continue_final_message": True, "echo": True},
]


@pytest.mark.parametrize("fields", CHAT_FIELDS, ids=[",".join(f) or "none" for f in CHAT_FIELDS])
def test_a_chat_message_is_the_body_it_was_made_from(fields: dict[str, Any]) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi", "name": "Ann"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "c1"},
    ]
    body = {"model": "m", "messages": messages, **fields}

    understood = chat_body(chat_request(body), is_stream=False)

    assert _plain(understood) == _normal(body)


def _plain(body: Any) -> dict[str, Any]:
    """Return what a body says, its parts of text joined."""
    plain = body.model_dump(by_alias=True, exclude_unset=True)
    for message in plain["messages"]:
        if "content" in message:
            message["content"] = "".join(part["text"] for part in message["content"])
    for name in ("stream", "echo"):
        plain[name] = plain[name] or None
    for choice in [plain.get("tool_choice")]:
        if isinstance(choice, dict) and "allowed_tools" in choice:
            names = [tool["name"] for tool in choice["allowed_tools"]["tools"]]
            tools = [{"type": "function", "function": {"name": name}} for name in names]
            choice["allowed_tools"]["tools"] = tools
    return {name: value for name, value in plain.items() if value is not None}


def _normal(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def test_the_order_of_a_schema_is_kept() -> None:
    body = {"model": "m", "messages": [], "tools": [TOOL]}
    body["messages"] = [{"role": "user", "content": "Hi"}]

    understood = chat_body(chat_request(body), is_stream=False)

    assert understood.tools is not None and understood.tools[0].function is not None
    assert json.dumps(understood.tools[0].function.parameters) == json.dumps(SCHEMA)


@pytest.mark.parametrize(
    ("prompt", "understood"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
    ids=["text", "texts", "ids", "lists of ids"],
)
def test_prompts_are_texts_or_token_ids(prompt: Any, understood: Any) -> None:
    body = completion_body(completion_request({"model": "m", "prompt": prompt}), is_stream=False)

    assert body.prompt == understood


def test_a_completion_tells_as_many_of_the_likeliest_as_it_is_asked_for() -> None:
    body = completion_body(completion_request({"model": "m", "prompt": "a", "logprobs": 3}), False)

    assert body.logprobs == 3
    request = CompletionRequest(
        model="m", prompts=[Prompt(text="a")], output=Output(top_logprobs=3)
    )
    with pytest.raises(InvalidRequest) as refusal:
        completion_body(request, False)
    assert refusal.value.param == "top_logprobs"


def test_a_completion_has_logprobs_of_chosen_tokens_alone() -> None:
    request = completion_request({"model": "m", "prompt": "a", "logprobs": 0, "best_of": 3})

    body = completion_body(request, is_stream=True)

    assert (body.logprobs, body.best_of, body.stream) == (0, 3, True)


@pytest.mark.parametrize(
    "body",
    [
        completion_body(
            CompletionRequest(
                model="m",
                prompts=[Prompt(text="a")],
                parse_special_tokens=True,
                add_special_tokens=False,
            ),
            is_stream=False,
        ),
        tokenize_body(
            TokenizeRequest(
                model="m", text="a", parse_special_tokens=True, add_special_tokens=False
            )
        ),
    ],
    ids=["completion", "tokenize"],
)
def test_a_message_says_how_text_becomes_tokens(
    body: schemas.CompletionRequest | schemas.TokenizeRequest,
) -> None:
    assert body.parse_special_tokens is True
    assert body.add_special_tokens is False


def test_a_tokenize_message_is_a_text_or_a_conversation() -> None:
    conversation = {"messages": [{"role": "ROLE_USER", "content": [{"text": "Hi"}]}]}
    chat = json_format.ParseDict({"model": "m", "conversation": conversation}, TokenizeRequest())

    assert tokenize_body(TokenizeRequest(model="m", text="")).prompt == ""
    assert len(tokenize_body(chat).messages or ()) == 1


def test_a_detokenize_message_has_token_ids() -> None:
    assert detokenize_body(DetokenizeRequest(model="m", token_ids=[3, 4])).tokens == [3, 4]


HELLO = {"model": "m", "conversation": {"messages": [{"role": "ROLE_USER", "content": [{}]}]}}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"sampling": {"temperature": 3}}, "sampling.temperature"),
    ({"sampling": {"logit_bias": {"5": 101}}}, "sampling.logit_bias"),
    ({"limits": {"max_tokens": 0}}, "limits.max_tokens"),
    ({"limits": {"stop": ["a"] * 65}}, "limits.stop"),
    ({"output": {"n": 0}}, "output.n"),
    ({"conversation": {}}, "conversation.messages"),
    ({"conversation": {"messages": [{}]}}, "conversation.messages[0].role"),
    ({"conversation": {"messages": [{"role": 9}]}}, "conversation.messages[0].role"),
    (
        {"conversation": {"tools": [{"function": {"name": "a b"}}], **HELLO["conversation"]}},  # type: ignore[dict-item]
        "conversation.tools[0].function.name",
    ),
    (
        {
            "conversation": {
                "tools": [{"function": {"name": "a", "parameters": "{"}}],
                **HELLO["conversation"],  # type: ignore[dict-item]
            }
        },
        "conversation.tools[0].function.parameters",
    ),
    (
        {"response_format": {"json_schema": {"name": "x", "schema": "no"}}},
        "response_format.json_schema.schema",
    ),
    (
        {"response_format": {"json_schema": {"schema": "{}"}}},
        "response_format.json_schema.name",
    ),
]


@pytest.mark.parametrize(("fields", "path"), FAULTS, ids=[path for _, path in FAULTS])
def test_a_fault_is_told_by_its_path_through_the_message(fields: dict[str, Any], path: str) -> None:
    request = json_format.ParseDict({**HELLO, **fields}, ChatCompletionRequest())

    with pytest.raises(InvalidRequest) as refusal:
        chat_body(request, is_stream=False)

    assert refusal.value.param is not None
    assert field_path(refusal.value.param, _descriptor(request)) == path


@pytest.mark.parametrize(
    ("message", "param", "path"),
    [
        (ChatCompletionRequest(), "guided_choice[1]", "response_format.choice.texts[1]"),
        (ChatCompletionRequest(), "messages[0].content", "conversation.messages[0].content"),
        (ChatCompletionRequest(), "stream_options", "output.continuous_usage"),
        (ChatCompletionRequest(), "model", "model"),
        (CompletionRequest(), "prompt", "prompts"),
        (CompletionRequest(), "best_of", "best_of"),
        (DetokenizeRequest(), "tokens", "token_ids"),
        (TokenizeRequest(), "messages", "conversation.messages"),
    ],
    ids=["guide", "message", "usage", "model", "prompt", "best_of", "tokens", "tokenize"],
)
def test_paths_are_those_of_the_request(message: Any, param: str, path: str) -> None:
    assert field_path(param, _descriptor(message)) == path


def test_messages_name_parameters_as_the_request_does() -> None:
    error = InvalidRequest("'guided_regex' and 'n' clash.", param="n")

    assert field_message(error, _descriptor(ChatCompletionRequest())) == (
        "'response_format.regex' and 'n' clash."
    )


@pytest.mark.parametrize(
    "prompts",
    [[], [{"text": "a"}, {"token_ids": {"ids": [1]}}], [{}]],
    ids=["none", "mixed", "unset"],
)
def test_prompts_of_no_one_kind_are_refused(prompts: list[Any]) -> None:
    request = json_format.ParseDict({"model": "m", "prompts": prompts}, CompletionRequest())

    with pytest.raises(InvalidRequest) as refusal:
        completion_body(request, is_stream=False)

    assert refusal.value.param == "prompts"


def _descriptor(message: Any) -> Any:
    return message.DESCRIPTOR
