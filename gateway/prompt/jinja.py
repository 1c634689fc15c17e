"""Chat templates as tokenizers carry them: Jinja, sandboxed. Knows no model family.

The environment is the one transformers gives to templates
(https://huggingface.co/docs/transformers/chat_templating_writing).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes, pass_eval_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from msgspec.structs import replace

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Conversation, Message, Role
from gateway.prompt.functions import Unread, call_arguments, tool_schema
from gateway.prompt.guard import END, Guard
from gateway.prompt.pieces import Control, Piece, Text, check_turns
from gateway.prompt.tokenizer import Tokenizer

OWN_TEMPLATE = "tokenizer"

_NOT_ASCII = re.compile(r"[^\x00-\x7f\ud800-\udfff]")
# What running a template on unexpected input raises, besides Jinja's own errors.
_RENDER_ERRORS = (
    TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip


class JinjaTemplate:
    """Writes conversations with a Jinja template in which callers' text stays text."""

    name = OWN_TEMPLATE

    def __init__(
        self,
        tokenizer: Tokenizer,
        source: str,
        *,
        defaults: Mapping[str, Any],
        clock: Callable[[], datetime],
    ) -> None:
        """Raise ValueError where `source` is not a template."""
        environment = _Environment(clock)
        try:
            tree = environment.parse(source)
            self._guard = environment.guard = Guard(tokenizer.control_ids, _constants(tree))
            self._template = environment.from_string(_Searches(self._guard).visit(tree))
        except TemplateSyntaxError as error:
            raise ValueError(f"chat template, line {error.lineno}: {error.message}") from error
        self._tokenizer = tokenizer
        self._defaults = defaults
        self._reads_tools = "tools" in meta.find_undeclared_variables(tree)
        self._reads_tool_calls = "tool_calls" in source
        self._developer = "developer" if "developer" in source else "system"

    @property
    def knows_tools(self) -> bool:
        return self._reads_tools and self._reads_tool_calls

    def render(self, conversation: Conversation) -> list[Piece]:
        check_turns(conversation)
        self._check_support(conversation)
        text = self._render(conversation)
        if conversation.continue_final_message:
            text = _cut_open(text, len(conversation.messages) - 1)
        return [
            piece if isinstance(piece, Control) else Text(self._guard.restore(piece.text))
            for piece in self._tokenizer.split(text)
        ]

    def _check_support(self, conversation: Conversation) -> None:
        if conversation.tools and not self._reads_tools:
            raise InvalidRequest("The model's chat template has no form for tools.", param="tools")
        for index, message in enumerate(conversation.messages):
            if message.tool_calls and not self._reads_tool_calls:
                raise InvalidRequest(
                    "The model's chat template has no form for tool calls.",
                    param=f"messages[{index}].tool_calls",
                )

    def _render(self, conversation: Conversation) -> str:
        variables = self._variables(conversation)
        try:
            return self._template.render(variables)
        except _RENDER_ERRORS as error:
            index = self._first_refused(conversation)
            reason = self._guard.restore(str(error))
            raise InvalidRequest(
                f"The model's chat template cannot render messages[{index}]: {reason}",
                param=f"messages[{index}]",
            ) from error

    def _first_refused(self, conversation: Conversation) -> int:
        """Find, by halving, a message whose predecessors alone the template still renders."""
        rendered, refused = 0, len(conversation.messages)
        while refused - rendered > 1:
            middle = (rendered + refused) // 2
            opening = replace(
                conversation,
                messages=conversation.messages[:middle],
                continue_final_message=False,
            )
            try:
                self._template.render(self._variables(opening))
                rendered = middle
            except _RENDER_ERRORS:
                refused = middle
        return refused - 1

    def _variables(self, conversation: Conversation) -> dict[str, Any]:
        messages = [self._message(message) for message in conversation.messages]
        if conversation.continue_final_message:
            messages[-1]["content"] += END
        tools = [self._guard.protect(tool_schema(tool)) for tool in conversation.tools]
        return {
            **self._defaults,
            **self._guard.protect(conversation.template_kwargs),
            **self._tokenizer.named_tokens,
            "messages": messages,
            "tools": tools or None,
            "add_generation_prompt": conversation.add_generation_prompt
            and not conversation.continue_final_message,
        }

    def _message(self, message: Message) -> dict[str, Any]:
        is_developer = message.role is Role.DEVELOPER
        given: dict[str, Any] = {"content": message.content}
        if message.tool_calls:
            given["tool_calls"] = [
                _tool_call(call.id, call.name, call_arguments(call)) for call in message.tool_calls
            ]
        optional = {"tool_call_id": message.tool_call_id, "name": message.name}
        given |= {name: value for name, value in optional.items() if value is not None}
        role = self._developer if is_developer else message.role.value
        return {"role": role, **self._guard.protect(given)}


def _tool_call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _cut_open(text: str, index: int) -> str:
    """Cut the text where the final message's content ends, which END marks."""
    content, end, _ = text.rpartition(END)
    if not end:
        raise InvalidRequest(
            "The model's chat template does not end this message with its content, "
            "so it cannot be continued.",
            param=f"messages[{index}]",
        )
    return content


class _Generation(Extension):
    """`{% generation %}` tells trainers what the model wrote; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """What templates run in: they find in callers' text what they search, though it is guarded."""

    guard: Guard

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        replace_plain = self.filters["replace"]
        self.filters["tojson"] = _to_json
        self.filters["replace"] = pass_eval_context(
            lambda context, text, old, *more: replace_plain(
                context, text, self.guard.as_in(str(text), str(old)), *more
            )
        )
        self.filters[_CONTAINS] = self._contains
        self.filters[_EQUALS] = self._equals
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda form: clock().strftime(form)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls; a text's method gets its first argument as it is there."""
        owner = getattr(__obj, "__self__", None)
        if args and isinstance(owner, str) and isinstance(args[0], str):
            args = (__self.guard.as_in(owner, args[0]), *args[1:])
        return super().call(__context, __obj, *args, **kwargs)

    def _contains(self, container: Any, part: Any) -> bool:
        if isinstance(container, str) and isinstance(part, str):
            return self.guard.contains(container, part)
        return part in container

    def _equals(self, left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return self.guard.restore(left) == self.guard.restore(right)
        return bool(left == right)


_CONTAINS, _EQUALS = "__contains", "__equals"
_SEARCHES = {"in": _CONTAINS, "notin": _CONTAINS, "eq": _EQUALS, "ne": _EQUALS}


class _Searches(NodeTransformer):
    """Lets comparisons with words that the guard changes see callers' text as it was."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if len(node.ops) != 1 or node.ops[0].op not in _SEARCHES:
            return node
        [operand] = node.ops
        is_in = operand.op in ("in", "notin")
        if not (self._may_differ(node.expr, is_in) or self._may_differ(operand.expr, False)):
            return node
        found = nodes.Filter(
            operand.expr, _SEARCHES[operand.op], [node.expr], [], None, None, lineno=node.lineno
        )
        is_negated = operand.op in ("notin", "ne")
        return nodes.Not(found, lineno=node.lineno) if is_negated else found

    def _may_differ(self, node: nodes.Expr, if_no_constant: bool) -> bool:
        """Whether a constant is written otherwise within callers' text."""
        if not isinstance(node, nodes.Const):
            return if_no_constant
        return bool(self._guard.protect(node.value) != node.value)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON without HTML escapes, and without escaping what guards callers' text.

    Arguments that a model left unreadable stand as it wrote them.
    """
    if isinstance(value, Unread):
        return value.text
    text = json.dumps(
        value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text) if ensure_ascii else text


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _constants(tree: nodes.Template) -> Iterator[str]:
    yield from (node.data for node in tree.find_all(nodes.TemplateData))
    for node in tree.find_all(nodes.Const):
        if isinstance(node.value, str):
            yield node.value
