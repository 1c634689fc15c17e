// What is asked in a dialog, or told for a moment.

import { key } from "./api.js";
import { $, h } from "./dom.js";

const SHORTCUTS = [
  ["Enter", "Send"],
  ["Shift Enter", "Break the line"],
  ["Esc", "Stop the answer, or close what is open"],
  ["Up", "In an empty message: edit the last one"],
  ["Alt N", "New conversation"],
  ["Alt R", "Answer again"],
  ["Alt P", "Parameters"],
  ["Alt S", "Server"],
  ["Alt K", "Search conversations"],
  ["Alt T", "Light or dark"],
  ["Alt H", "This list"],
];
const TOLD_MS = 6000;
let until;

/** Ask for the key; `then` is called once there is one. */
export function askKey(then = () => {}, why = "It is kept in this tab and nowhere else.") {
  const dialog = $("key-dialog");
  $("key-why").textContent = why;
  $("key-value").value = key.get();
  $("key-forget").hidden = !key.get();
  $("key-forget").onclick = () => {
    key.set("");
    dialog.close();
  };
  $("key-cancel").onclick = () => dialog.close();
  dialog.onclose = () => {
    const value = $("key-value").value.trim();
    if (dialog.returnValue === "save" && value) {
      key.set(value);
      then();
    }
    dialog.returnValue = "";
    $("key-value").value = "";
  };
  if (!dialog.open) dialog.showModal();
}

/** Show the shortcuts. */
export function showHelp() {
  const rows = SHORTCUTS.map(([keys, what]) => [
    h("dt", {}, keys.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)]);
  $("help-list").replaceChildren(...rows.flat());
  $("help-dialog").showModal();
}

/** Tell something for a moment, with a way to undo it. */
export function tell(text, undo) {
  const toast = $("toast");
  const button = undo && h("button", { type: "button", onclick: () => {
    toast.hidden = true;
    undo();
  } }, "Undo");
  toast.replaceChildren(text, ...(button ? [button] : []));
  toast.hidden = false;
  clearTimeout(until);
  until = setTimeout(() => (toast.hidden = true), TOLD_MS);
}
