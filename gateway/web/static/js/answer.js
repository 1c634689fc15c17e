// One answer being streamed: chunks folded into a message, with its tokens and times. No page.

import * as api from "./api.js";
import { apiMessages } from "./conversation.js";

/** Return the request's body for what is said up to `leaf`; raises SyntaxError for broken JSON. */
export function requestBody(conversation, leaf) {
  const { model, temperature, topP, maxTokens, seed, stop, tools, format, schema } =
    conversation.settings;
  const body = {
    model,
    messages: apiMessages(conversation, leaf),
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  };
  const numbers = { temperature, top_p: topP, max_tokens: maxTokens, seed };
  for (const [name, value] of Object.entries(numbers)) {
    if (value !== undefined && value !== "") body[name] = Number(value);
  }
  const stops = (stop ?? "").split("\n").filter(Boolean);
  if (stops.length) body.stop = stops;
  if (tools?.trim()) body.tools = JSON.parse(tools);
  if (format === "json_object") body.response_format = { type: "json_object" };
  if (format === "json_schema") {
    const wanted = { name: "answer", schema: JSON.parse(schema || "{}"), strict: true };
    body.response_format = { type: "json_schema", json_schema: wanted };
  }
  return body;
}

/** Stream an answer into `node`; `changed` is called at each chunk. Ends however it ends. */
export async function stream(node, body, signal, changed) {
  const watch = new Watch(node);
  node.state = "running";
  try {
    for await (const chunk of api.chat(body, signal)) {
      fold(node, chunk);
      watch.saw(chunk);
      changed();
    }
    node.state = "done";
  } catch (error) {
    node.state = error.name === "AbortError" ? "stopped" : "failed";
    if (node.state === "failed") {
      node.error = error.message;
      node.status = error.status;
    }
  }
}

function fold(node, chunk) {
  const choice = chunk.choices?.[0];
  if (!choice) return;
  const { content, reasoning_content: reasoning, tool_calls: calls } = choice.delta ?? {};
  if (content) node.text += content;
  if (reasoning) node.reasoning = (node.reasoning ?? "") + reasoning;
  for (const call of calls ?? []) foldCall(node, call);
  if (choice.finish_reason) node.finish = choice.finish_reason;
}

function foldCall(node, delta) {
  node.calls ??= [];
  const call = (node.calls[delta.index] ??= { id: "", name: "", arguments: "" });
  if (delta.id) call.id = delta.id;
  if (delta.function?.name) call.name += delta.function.name;
  call.arguments += delta.function?.arguments ?? "";
}

/** Takes the time of an answer: its first token, and its pace from there. */
class Watch {
  constructor(node) {
    this.node = node;
    this.started = performance.now();
    node.stats = {};
  }

  saw(chunk) {
    const { stats } = this.node;
    const now = performance.now();
    const usage = chunk.usage;
    if (usage) {
      stats.tokens = usage.completion_tokens;
      stats.promptTokens = usage.prompt_tokens;
      stats.cachedTokens = usage.prompt_tokens_details?.cached_tokens;
    }
    if (!stats.tokens) return;
    if (stats.firstMs === undefined) {
      stats.firstMs = now - this.started;
      this.first = { now, tokens: stats.tokens };
    }
    const seconds = (now - this.first.now) / 1000;
    const since = stats.tokens - this.first.tokens;
    if (seconds > 0 && since > 0) stats.perSecond = since / seconds;
  }
}
