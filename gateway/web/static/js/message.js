// One message on the page. Says what was asked for through `actions`; changes no conversation.

import { copy, h, icon, iconButton } from "./dom.js";
import { isJson, json, rendered } from "./markdown.js";

/** Return the element of a message; `place` is its number among those that could stand there. */
export function messageElement(node, place, actions) {
  const make = { user: userMessage, assistant: assistantMessage, tool: toolMessage }[node.role];
  const element = make(node, place, actions);
  element.dataset.id = node.id;
  return element;
}

/** Show what has come of an answer by now. */
export function updateAnswer(element, node) {
  const body = element.querySelector(".prose");
  const thought = element.querySelector(".thought");
  if (node.reasoning && thought) {
    thought.hidden = false;
    thought.querySelector("div").replaceChildren(rendered(node.reasoning));
  }
  body.replaceChildren(isJson(node.text) ? json(node.text) : rendered(node.text));
  element.querySelector(".calls").replaceChildren(...(node.calls ?? []).map(callCard));
  element.classList.toggle("running", node.state === "running");
  updateFigures(element, node);
}

/** Show an answer's tokens and times. */
export function updateFigures(element, node) {
  const shown = figures(node).map(([name, value]) => h("span", { title: name }, value));
  element.querySelector(".figures").replaceChildren(...shown);
}

/** Return an answer's figures as pairs of what they are and what they say. */
export function figures(node) {
  const { tokens, promptTokens, cachedTokens, firstMs, perSecond } = node.stats ?? {};
  const told = [];
  if (tokens) told.push(["Tokens of this answer", `${tokens.toLocaleString("en")} tokens`]);
  if (firstMs !== undefined) told.push(["Time to first token", `first ${duration(firstMs)}`]);
  if (perSecond) told.push(["Tokens per second, after the first", `${pace(perSecond)} tokens/s`]);
  if (promptTokens) {
    const cached = cachedTokens ? `, ${cachedTokens.toLocaleString("en")} cached` : "";
    told.push(["Tokens of the prompt", `prompt ${promptTokens.toLocaleString("en")}${cached}`]);
  }
  if (node.state === "stopped") told.push(["Why it ended", "stopped"]);
  if (node.finish === "length") told.push(["Why it ended", "cut at its limit"]);
  return told;
}

function pace(perSecond) {
  return perSecond < 100 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en");
}

function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function userMessage(node, place, actions) {
  const text = h("div.bubble", {}, node.text);
  return h("article.message.user", { "aria-label": "You" },
    text,
    h("div.below", {},
      branches(place),
      iconButton("copy", "Copy", (event) => copy(node.text, event.currentTarget)),
      iconButton("edit", "Edit", () => actions.edit(node))));
}

function assistantMessage(node, place, actions) {
  const element = h("article.message.assistant", { "aria-label": node.model ?? "Assistant" },
    h("details.thought", { hidden: true }, h("summary", {}, "Reasoning"), h("div.prose-small")),
    h("div.prose"),
    h("div.calls"),
    node.error ? failure(node, actions) : null,
    h("div.below", {},
      branches(place),
      iconButton("copy", "Copy", (event) => copy(node.text, event.currentTarget)),
      iconButton("again", "Answer again", () => actions.again(node)),
      h("span.figures")));
  updateAnswer(element, node);
  return element;
}

function toolMessage(node) {
  return h("article.message.tool", { "aria-label": `Result of ${node.name}` },
    h("div.card", {},
      h("div.head", {}, icon("tool"), h("span", {}, `${node.name} returned`)),
      h("div.prose", {}, isJson(node.text) ? json(node.text) : h("pre", {}, node.text))));
}

function callCard(call) {
  return h("div.card", { role: "group", "aria-label": `Call of ${call.name}` },
    h("div.head", {}, icon("tool"), h("span", {}, "calls "), h("b", {}, call.name)),
    h("div.prose", {}, json(call.arguments || "{}")));
}

function failure(node, actions) {
  return h("div.failure", { role: "alert" },
    h("p", {}, node.error),
    h("button", { type: "button", onclick: () => actions.again(node) }, "Try again"));
}

function branches({ index, count, move }) {
  if (count < 2) return null;
  return h("span.branches", { role: "group", "aria-label": "Versions" },
    iconButton("left", "Earlier version", () => move(-1), { disabled: index === 0 }),
    h("span", {}, `${index + 1} / ${count}`),
    iconButton("right", "Later version", () => move(1), { disabled: index === count - 1 }));
}

/** Return a form for what the functions returned that an answer calls. */
export function resultsForm(node, submit) {
  const fields = node.calls.map((call) =>
    h("label.field", {}, `Result of ${call.name}`, h("textarea", { rows: "2", spellcheck: "false" })));
  const form = h("form.results", { "aria-label": "Results of the calls" }, fields,
    h("div.actions", {}, h("span.space"), h("button.primary", {}, "Send results")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(fields.map((field) => field.querySelector("textarea").value));
  });
  return form;
}

/** Return a form in a message's place, to say it otherwise. */
export function editForm(node, save, cancel) {
  const area = h("textarea", { "aria-label": "Edit the message", rows: "1" });
  area.value = node.text;
  const form = h("form.edit", {}, area,
    h("div.actions", {}, h("span.space"),
      h("button.quiet", { type: "button", onclick: cancel }, "Cancel"),
      h("button.primary", {}, "Send")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (area.value.trim()) save(area.value);
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      cancel();
    }
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  return form;
}
