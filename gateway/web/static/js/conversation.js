// A conversation is a tree: what is edited or answered anew becomes a branch. Pure.

/** Return a conversation with nothing said. */
export function newConversation(settings) {
  const now = Date.now();
  return { id: crypto.randomUUID(), title: "", created: now, updated: now, leaf: null, nodes: {},
    settings: { ...settings } };
}

/** Add a message below `parent` (null: at the top) and make it the last that is shown. */
export function add(conversation, parent, message) {
  const node = { id: crypto.randomUUID(), parent, at: Date.now(), ...message };
  conversation.nodes[node.id] = node;
  conversation.leaf = node.id;
  conversation.updated = node.at;
  if (!conversation.title && node.role === "user") conversation.title = titleOf(node.text);
  return node;
}

/** Return the messages that are shown, first to last. */
export function path(conversation, leaf = conversation.leaf) {
  const shown = [];
  for (let id = leaf; id; id = conversation.nodes[id].parent) shown.unshift(conversation.nodes[id]);
  return shown;
}

/** Return the messages that could stand in a message's place, oldest first. */
export function siblings(conversation, node) {
  return Object.values(conversation.nodes)
    .filter((other) => other.parent === node.parent && other.role === node.role)
    .sort((one, other) => one.at - other.at);
}

/** Show a message, and below it what was said last. */
export function select(conversation, node) {
  let last = node;
  for (;;) {
    const below = Object.values(conversation.nodes).filter((other) => other.parent === last.id);
    if (!below.length) break;
    last = below.reduce((one, other) => (other.at >= one.at ? other : one));
  }
  conversation.leaf = last.id;
}

/** Return the messages as the API takes them, up to and with `leaf`. */
export function apiMessages(conversation, leaf) {
  const system = conversation.settings.system?.trim();
  const said = path(conversation, leaf).filter((node) => !node.error || node.text).map(apiMessage);
  return system ? [{ role: "system", content: system }, ...said] : said;
}

function apiMessage(node) {
  if (node.role === "tool") {
    return { role: "tool", tool_call_id: node.callId, content: node.text };
  }
  if (node.role !== "assistant" || !node.calls?.length) {
    return { role: node.role, content: node.text };
  }
  const calls = node.calls.map((call) => ({
    id: call.id, type: "function", function: { name: call.name, arguments: call.arguments },
  }));
  return { role: "assistant", content: node.text || null, tool_calls: calls };
}

function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}...` : line || "Untitled";
}
