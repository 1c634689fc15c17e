// The list of conversations.

import { $, h, iconButton } from "./dom.js";

const DAY_MS = 86_400_000;

/** Draw the conversations that fit what is searched for. */
export function drawSidebar(conversations, current, { open, remove }) {
  const wanted = $("search").value.trim().toLowerCase();
  const shown = conversations.filter((one) => one.leaf && matches(one, wanted));
  const groups = Map.groupBy ? Map.groupBy(shown, dayOf) : grouped(shown);
  const sections = [...groups].map(([day, members]) =>
    h("section", {}, h("h2", {}, day),
      h("ul", {}, members.map((one) => row(one, one.id === current?.id, open, remove)))));
  const nothing = h("p.nothing", {}, wanted ? "Nothing found." : "What you ask is kept here, in this browser.");
  $("conversations").replaceChildren(...(sections.length ? sections : [nothing]));
}

function matches(conversation, wanted) {
  if (!wanted || conversation.title.toLowerCase().includes(wanted)) return true;
  return Object.values(conversation.nodes).some((node) => node.text.toLowerCase().includes(wanted));
}

function grouped(shown) {
  const groups = new Map();
  for (const one of shown) {
    const day = dayOf(one);
    groups.set(day, [...(groups.get(day) ?? []), one]);
  }
  return groups;
}

function dayOf({ updated }) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (updated >= midnight) return "Today";
  if (updated >= midnight - DAY_MS) return "Yesterday";
  return updated >= midnight - 7 * DAY_MS ? "This week" : "Earlier";
}

function row(conversation, isCurrent, open, remove) {
  const current = isCurrent ? "page" : null;
  return h("li", {},
    h("button.row", { type: "button", "aria-current": current, onclick: () => open(conversation) },
      conversation.title || "Untitled"),
    iconButton("trash", `Delete "${conversation.title}"`, () => remove(conversation)));
}
