// The page: what its parts are handed, and what keys and buttons do.

import * as api from "./api.js";
import { newConversation, path } from "./conversation.js";
import { askKey, showHelp, tell } from "./dialogs.js";
import { $, icon } from "./dom.js";
import { download } from "./export.js";
import { ServerView } from "./server.js";
import { drawSettings } from "./settings.js";
import { drawSidebar } from "./sidebar.js";
import * as store from "./store.js";
import { Thread } from "./thread.js";

const page = { conversations: [], current: null };
const server = new ServerView((then) => askKey(then));
const thread = new Thread({
  save: (conversation) => save(conversation),
  unauthorized: (then) => askKey(then, "This server asks for a key. It is kept in this tab and nowhere else."),
  busy: showBusy,
  problem: (text) => ($("problem").textContent = text),
});

async function start() {
  drawButtons();
  listen();
  try {
    page.conversations = await store.all();
  } catch {
    tell("This browser keeps nothing here: conversations end with the tab.");
  }
  const last = page.conversations.find((one) => one.id === sessionStorage.getItem("current"));
  open(last ?? newConversation(store.defaults.read()));
  route();
  await loadModels();
}

async function loadModels() {
  const picker = $("model");
  try {
    const models = await api.models();
    picker.replaceChildren(...models.map(({ id }) => new Option(id, id)));
    $("problem").textContent = models.length ? "" : "No model is served yet.";
  } catch (error) {
    $("problem").textContent = error.status === 401 ? "" : error.message;
    if (error.status === 401) askKey(loadModels, "This server asks for a key. It is kept in this tab and nowhere else.");
    return;
  }
  chooseModel();
}

function chooseModel() {
  const picker = $("model");
  const { settings } = page.current;
  const names = [...picker.options].map((option) => option.value);
  if (!names.length) return;
  if (!names.includes(settings.model)) settings.model = names[0];
  picker.value = settings.model;
  if (!page.current.leaf) thread.draw();
}

function open(conversation) {
  page.current = conversation;
  sessionStorage.setItem("current", conversation.id);
  for (const node of Object.values(conversation.nodes)) {
    if (node.state === "running") node.state = "stopped";
  }
  thread.show(conversation);
  chooseModel();
  drawPanel();
  drawList();
  showTitle();
  closeSidebar();
  $("problem").textContent = "";
}

function begin() {
  location.hash = "";
  open(newConversation({ ...store.defaults.read(), ...kept(page.current.settings) }));
  $("message").focus();
}

/** What one conversation hands on to the next: everything but what is bound to its matter. */
function kept({ model, system, temperature, topP, maxTokens }) {
  return { model, system, temperature, topP, maxTokens };
}

function save(conversation) {
  if (!page.conversations.includes(conversation)) page.conversations.unshift(conversation);
  page.conversations.sort((one, other) => other.updated - one.updated);
  drawList();
  showTitle();
  store.put(structuredClone(conversation)).catch(() => tell("It could not be kept: is the disk full?"));
}

function remove(conversation) {
  page.conversations = page.conversations.filter((one) => one !== conversation);
  store.remove(conversation.id);
  if (conversation === page.current) begin();
  drawList();
  tell(`Deleted "${conversation.title}".`, () => {
    save(conversation);
    open(conversation);
  });
}

function drawList() {
  drawSidebar(page.conversations, page.current, {
    open: (conversation) => {
      location.hash = "";
      open(conversation);
    },
    remove,
  });
}

function drawPanel() {
  const changed = () => {
    store.defaults.write(kept(page.current.settings));
    if (page.current.leaf) save(page.current);
    $("problem").textContent = "";
  };
  drawSettings(page.current.settings, changed, () => togglePanel(false));
}

function showTitle() {
  document.title = page.current.title ? `${page.current.title} - Chat` : "Chat";
}

function showBusy(isBusy, node) {
  const button = $("send");
  button.replaceChildren(icon(isBusy ? "stop" : "send"));
  button.setAttribute("aria-label", isBusy ? "Stop" : "Send");
  button.classList.toggle("stopping", isBusy);
  if (isBusy) $("status").textContent = "Answering";
  else if (node) $("status").textContent = `Answer ${node.state}, ${node.stats.tokens ?? 0} tokens`;
}

function send() {
  const box = $("message");
  const text = box.value;
  if (thread.running) {
    thread.stop();
    return;
  }
  if (!text.trim()) return;
  if (!page.current.settings.model) {
    loadModels();
    return;
  }
  box.value = "";
  grow();
  $("problem").textContent = "";
  thread.say(text);
}

function grow() {
  const box = $("message");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
}

function togglePanel(wanted = $("settings").hidden) {
  $("settings").hidden = !wanted;
  if (wanted) location.hash = "";
  $("settings-open").setAttribute("aria-expanded", String(wanted));
  if (wanted) $("settings").querySelector("textarea").focus();
  else $("settings-open").focus();
}

function openSidebar() {
  document.body.classList.add("listing");
  $("veil").hidden = false;
  $("sidebar-open").setAttribute("aria-expanded", "true");
  $("new").focus();
}

function closeSidebar() {
  document.body.classList.remove("listing");
  $("veil").hidden = true;
  $("sidebar-open").setAttribute("aria-expanded", "false");
}

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  drawTheme();
}

function drawTheme() {
  const isDark = document.documentElement.dataset.theme === "dark";
  $("theme").replaceChildren(icon(isDark ? "sun" : "moon"));
  $("theme").setAttribute("aria-label", isDark ? "Light" : "Dark");
}

function drawButtons() {
  const icons = { "sidebar-open": "menu", "sidebar-close": "close", "server-menu": "menu",
    export: "export", "settings-open": "sliders", key: "key", shortcuts: "keyboard" };
  for (const [id, name] of Object.entries(icons)) $(id).replaceChildren(icon(name));
  $("new").prepend(icon("plus"));
  drawTheme();
  showBusy(false);
}

function route() {
  const isServer = location.hash === "#server";
  $("server").hidden = !isServer;
  $("chat").hidden = isServer;
  $("to-server").toggleAttribute("aria-current", isServer);
  if (isServer) $("settings").hidden = true;
  if (isServer) server.start();
  else server.stop();
  closeSidebar();
}

function listen() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("message").addEventListener("input", grow);
  $("message").addEventListener("keydown", onMessageKey);
  $("model").addEventListener("change", (event) => {
    page.current.settings.model = event.target.value;
    store.defaults.write(kept(page.current.settings));
    if (page.current.leaf) save(page.current);
    else thread.draw();
  });
  $("export-menu").addEventListener("click", (event) => {
    const { format } = event.target.dataset;
    if (!format) return;
    download(page.current, format);
    $("export-menu").hidePopover();
  });
  $("search").addEventListener("input", drawList);
  const clicks = { new: begin, theme: toggleTheme, shortcuts: showHelp, key: () => askKey(loadModels),
    "settings-open": () => togglePanel(), "sidebar-open": openSidebar, "server-menu": openSidebar,
    "sidebar-close": closeSidebar, veil: closeSidebar };
  for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
  addEventListener("hashchange", route);
  document.addEventListener("keydown", onKey);
}

function onMessageKey(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    if (!thread.running) send();
  }
  if (event.key === "ArrowUp" && !event.target.value && path(page.current).length) {
    event.preventDefault();
    thread.editLast();
  }
}

function search() {
  if (matchMedia("(max-width: 800px)").matches) openSidebar();
  $("search").focus();
}

const SHORTCUTS = {
  KeyN: begin,
  KeyR: () => thread.againLast(),
  KeyP: () => togglePanel(),
  KeyS: () => (location.hash = location.hash === "#server" ? "" : "#server"),
  KeyK: search,
  KeyT: toggleTheme,
  KeyH: showHelp,
};

function onKey(event) {
  if (event.altKey && !event.ctrlKey && !event.metaKey && SHORTCUTS[event.code]) {
    event.preventDefault();
    SHORTCUTS[event.code]();
  }
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (thread.running) thread.stop();
  else if (!$("settings").hidden) togglePanel(false);
  else closeSidebar();
}

start();
