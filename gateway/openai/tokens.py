"""Text to tokens and back, as this gateway sees them, for clients that count before they send."""

from gateway.errors import InvalidRequest
from gateway.generation import Prompt
from gateway.models import Model
from gateway.openai.completion_task import parse_reading
from gateway.openai.messages import parse_conversation
from gateway.openai.schemas import DetokenizeRequest, TokenizeRequest
from gateway.openai.shapes import JsonObject
from gateway.openai.tools import offered, parse_tool_choice, parse_tools


async def tokenize(body: TokenizeRequest, model: Model) -> JsonObject:
    """Return the ids that a completion or a chat with this body would send, and their count."""
    prompt = await _render(body, model)
    return {
        "tokens": prompt.token_ids,
        "count": len(prompt.token_ids),
        "max_model_len": model.max_model_len,
    }


async def detokenize(body: DetokenizeRequest, model: Model) -> JsonObject:
    """Return the text of ids, control tokens spelt out.

    Raises InvalidRequest for ids out of range, ContextTooLong for too many.
    """
    model.countable("tokens").check_least(len(body.tokens))
    model.renderer.check_ids(body.tokens, "tokens")
    return {"prompt": await model.renderer.decode_async(body.tokens, skip_special=False)}


async def _render(body: TokenizeRequest, model: Model) -> Prompt:
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("Give either 'prompt' or 'messages'.", param="prompt")
    if body.messages is None:
        context = model.countable("prompt")
        reading = parse_reading(body)
        return await model.renderer.encode_text_async(body.prompt or "", reading, context=context)
    tools = parse_tools(body)
    shown = offered(tools, parse_tool_choice(body, tools))
    conversation = parse_conversation(body, body.messages, shown)
    return await model.renderer.render_async(conversation, model.countable("messages"))
