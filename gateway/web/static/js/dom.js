// Elements, made without ever parsing a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element: `h("button.icon", {onclick}, "text", child)`. */
export function h(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an SVG element. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const PATHS = {
  menu: "M3 6h14M3 10h14M3 14h9",
  close: "M5 5l10 10M15 5L5 15",
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7 7V4h9v9h-3M4 7h9v9H4z",
  check: "M4 10.5l4 4 8-9",
  edit: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2z",
  again: "M15.5 8A6 6 0 1 0 16 11.5M16 4v4h-4",
  sliders: "M3 6h8M15 6h2M3 14h2M9 14h8M13 4v4M7 12v4",
  export: "M10 3v9M6.5 8.5L10 12l3.5-3.5M4 16h12",
  trash: "M4 6h12M8 6V4h4v2M6 6l.7 10h6.6L14 6",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 12.2A6.8 6.8 0 0 1 7.8 4 6.8 6.8 0 1 0 16 12.2z",
  key: "M8.5 11.5L16 4M13.5 6.5l2 2M7 10a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7",
  tool: "M12.5 3.5a4 4 0 0 0-3.7 5.4L3.5 14.2l2.3 2.3 5.3-5.3a4 4 0 0 0 5.2-4.9l-2.4 2.4-2.4-.6-.6-2.4z",
};

/** Return one of the icons above. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 20 20", class: "glyph", "aria-hidden": "true" },
    s("path", { d: PATHS[name] }));
}

/** Return a button that shows an icon, and is called `label`. */
export function iconButton(name, label, onclick, extra = {}) {
  return h("button.icon", { type: "button", "aria-label": label, title: label, onclick, ...extra },
    icon(name));
}

export const $ = (id) => document.getElementById(id);

/** Copy text; show on the button that it was done. */
export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = [...button.childNodes];
  button.replaceChildren(icon("check"), ...before.slice(1).map(() => "Copied"));
  setTimeout(() => button.replaceChildren(...before), 1200);
}
