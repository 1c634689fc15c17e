// The parameters of a conversation. What is left empty is not sent: the server's defaults count.

import { $, h, iconButton } from "./dom.js";

const NUMBERS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1 }],
  ["topP", "Top p", { min: 0, max: 1, step: 0.05 }],
  ["maxTokens", "Most tokens", { min: 1, step: 1 }],
  ["seed", "Seed", { step: 1 }],
];
const FORMATS = [["", "Text"], ["json_object", "JSON"], ["json_schema", "JSON by a schema"]];
const TOOLS = '[{"type": "function", "function": {"name": "get_weather",\n  "parameters": {"type": "object",\n    "properties": {"city": {"type": "string"}}}}}]';

/** Draw the panel; it changes the settings, and calls `changed` when it did. */
export function drawSettings(settings, changed, close) {
  const set = (name, value) => {
    settings[name] = value;
    changed();
  };
  const schema = area("schema", "Schema", settings, set, '{"type": "object"}', true);
  schema.hidden = settings.format !== "json_schema";
  const format = h("select", { onchange: (event) => {
    set("format", event.target.value);
    schema.hidden = event.target.value !== "json_schema";
  } }, FORMATS.map(([value, name]) =>
    h("option", { value, selected: value === (settings.format ?? "") }, name)));
  $("settings").replaceChildren(
    h("header", {}, h("h2", {}, "Parameters"), iconButton("close", "Close the parameters", close)),
    h("div.fields", {},
      area("system", "System prompt", settings, set, "You are a helpful assistant.", false),
      h("div.pair", {}, NUMBERS.map((field) => number(field, settings, set))),
      area("stop", "Stop strings, one a line", settings, set, "", false),
      h("label.field", {}, "Answer as", format),
      schema,
      area("tools", "Functions it may call (JSON)", settings, set, TOOLS, true),
      h("p.note", {}, "What is left empty is not sent: the model's own defaults count.")));
}

function number([name, label, range], settings, set) {
  const input = h("input", { type: "number", placeholder: "default", inputmode: "decimal", ...range,
    oninput: (event) => {
      event.target.toggleAttribute("aria-invalid", !event.target.validity.valid);
      if (event.target.validity.valid) set(name, event.target.value);
    } });
  input.value = settings[name] ?? "";
  return h("label.field", {}, label, input);
}

function area(name, label, settings, set, placeholder, isJson) {
  const problem = h("span.problem", { role: "alert" });
  const text = h("textarea", { rows: isJson ? "4" : "3", placeholder, spellcheck: String(!isJson),
    oninput: (event) => {
      set(name, event.target.value);
      problem.textContent = isJson ? told(event.target.value) : "";
    } });
  if (isJson) text.classList.add("mono");
  text.value = settings[name] ?? "";
  return h("label.field", {}, label, text, problem);
}

function told(text) {
  try {
    if (text.trim()) JSON.parse(text);
    return "";
  } catch (error) {
    return `No JSON yet: ${error.message}`;
  }
}
