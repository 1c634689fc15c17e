// What a model says, as elements. Its HTML is text; what Markdown makes of it is sanitized again.

import DOMPurify from "../vendor/dompurify.mjs";
import hljs from "../vendor/highlight.mjs";
import MarkdownIt from "../vendor/markdown-it.mjs";
import { copy, h, icon } from "./dom.js";

const MAX_HIGHLIGHTED = 20_000;
const MAX_RENDERED = 400_000;
const LINKS = /^(https?:|mailto:)/i;
const CLEAN = {
  ALLOWED_TAGS: ["p", "br", "hr", "strong", "em", "s", "code", "pre", "span", "a", "ul", "ol", "li",
    "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "class", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOWED_URI_REGEXP: LINKS,
  RETURN_DOM_FRAGMENT: true,
};

const markdown = new MarkdownIt({ html: false, linkify: true, highlight });
// An image is fetched from wherever a model says, and tells it so: it is shown as a link.
markdown.renderer.rules.image = (tokens, index) => {
  const source = tokens[index].attrGet("src") ?? "";
  const name = markdown.utils.escapeHtml(tokens[index].content || source);
  return `<a href="${markdown.utils.escapeHtml(source)}">Image: ${name}</a>`;
};
// Columns are aligned by a style, which the page's policy forbids: by a class instead.
for (const cell of ["th_open", "td_open"]) {
  markdown.renderer.rules[cell] = (tokens, index, options, _, renderer) => {
    const token = tokens[index];
    const side = /text-align:(\w+)/.exec(token.attrGet("style") ?? "")?.[1];
    token.attrs = side ? [["class", side]] : null;
    return renderer.renderToken(tokens, index, options);
  };
}

/** Return Markdown as a fragment that runs nothing and fetches nothing. */
export function rendered(text) {
  if (text.length > MAX_RENDERED) return h("pre", {}, text);
  const fragment = DOMPurify.sanitize(markdown.render(text), CLEAN);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div.table", { tabindex: "0", role: "region", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
  return fragment;
}

/** Return JSON, laid out and coloured. */
export function json(text) {
  let laidOut = text;
  try {
    laidOut = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not whole yet, or no JSON: as it came.
  }
  return rendered(`${fence(laidOut)}json\n${laidOut}\n${fence(laidOut)}`);
}

/** Tell whether a whole text is an object or a list in JSON. */
export function isJson(text) {
  const trimmed = text.trim();
  if (!/^[[{]/.test(trimmed) || trimmed.length > MAX_HIGHLIGHTED) return false;
  try {
    JSON.parse(trimmed);
    return true;
  } catch {
    return false;
  }
}

function fence(text) {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  return "`".repeat(longest + 1);
}

function highlight(code, language) {
  if (!hljs.getLanguage(language) || code.length > MAX_HIGHLIGHTED) return "";
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

function frameCode(pre) {
  const code = pre.querySelector("code");
  const language = /language-([\w+#.-]+)/.exec(code?.className ?? "")?.[1] ?? "text";
  const button = h("button.copy", { type: "button", "aria-label": "Copy the code" }, icon("copy"), "Copy");
  button.addEventListener("click", () => copy(pre.textContent, button));
  const frame = h("div.code", {}, h("div.head", {}, h("span", {}, language), button));
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", `Code, ${language}`);
  pre.setAttribute("role", "region");
  frame.append(pre);
}
