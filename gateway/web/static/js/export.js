// A conversation as a file.

import { path } from "./conversation.js";
import { h } from "./dom.js";

const WHO = { user: "You", assistant: "Assistant", tool: "Function" };

/** Return a conversation, as it is shown, as Markdown. */
export function asMarkdown(conversation) {
  const { system } = conversation.settings;
  const said = path(conversation).map((node) => `## ${WHO[node.role]}\n\n${wordsOf(node)}`);
  const top = [`# ${conversation.title}`, ...(system ? [`> ${system.replaceAll("\n", "\n> ")}`] : [])];
  return [...top, ...said].join("\n\n") + "\n";
}

function wordsOf(node) {
  const calls = (node.calls ?? []).map((call) =>
    `Calls \`${call.name}\`:\n\n\`\`\`json\n${call.arguments}\n\`\`\``);
  return [node.text, ...calls].filter(Boolean).join("\n\n");
}

/** Let the reader save a conversation, all of its branches in JSON. */
export function download(conversation, format) {
  const isJson = format === "json";
  const content = isJson ? JSON.stringify(conversation, null, 2) : asMarkdown(conversation);
  const type = isJson ? "application/json" : "text/markdown";
  const url = URL.createObjectURL(new Blob([content], { type }));
  const name = conversation.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "chat";
  h("a", { href: url, download: `${name}.${isJson ? "json" : "md"}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
