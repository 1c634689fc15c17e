// The conversation on the page: its messages, what is being answered, where it is scrolled to.

import { add, path, select, siblings } from "./conversation.js";
import { requestBody, stream } from "./answer.js";
import { $, h } from "./dom.js";
import { editForm, messageElement, resultsForm, updateAnswer, updateFigures } from "./message.js";

const NEAR = 80;
const SHORTEST_MS = 30;
const SUGGESTIONS = [
  "What is the capital of France?",
  "Explain in two sentences what a KV cache is.",
  "Write a Python function that reverses a linked list.",
  "List three rivers as a Markdown table with their lengths.",
];

export class Thread {
  /** `save` keeps a conversation, `unauthorized` asks for a key, `busy` tells of answering. */
  constructor({ save, unauthorized, busy, problem }) {
    Object.assign(this, { save, unauthorized, busy, problem });
    this.scroller = $("scroller");
    this.list = $("thread");
    this.running = null;
    this.scroller.addEventListener("scroll", () => this.showLatest());
    $("latest").addEventListener("click", () => this.toEnd());
  }

  /** Show a conversation; what another one's answer does goes on unseen until it is stopped. */
  show(conversation) {
    this.stop();
    this.conversation = conversation;
    this.draw();
    this.toEnd();
  }

  /** Say something; it is answered. */
  async say(text) {
    const node = add(this.conversation, this.conversation.leaf, { role: "user", text });
    await this.answer(node.id);
  }

  /** Answer what was said up to a message. */
  async answer(parent) {
    const conversation = this.conversation;
    let body;
    try {
      body = requestBody(conversation, parent);
    } catch (error) {
      this.problem(`The parameters hold JSON that is none: ${error.message}`);
      this.draw();
      return;
    }
    this.stop();
    const { model } = conversation.settings;
    const node = add(conversation, parent, { role: "assistant", text: "", model, state: "running" });
    this.save(conversation);
    await this.run(conversation, node, body);
  }

  async run(conversation, node, body) {
    const stopper = new AbortController();
    this.running = { node, stopper };
    this.busy(true);
    this.draw();
    this.toEnd();
    const pace = new Pace(() => this.refresh(conversation, node));
    await stream(node, body, stopper.signal, () => pace.request());
    pace.end();
    if (this.running?.node === node) {
      this.running = null;
      this.busy(false, node);
    }
    this.save(conversation);
    if (this.conversation === conversation) this.drawAndFollow();
    if (node.status === 401) this.unauthorized(() => this.again(node));
  }

  /** Stop what is being answered. */
  stop() {
    this.running?.stopper.abort();
    this.running = null;
    this.busy(false);
  }

  /** Answer once more what an answer answered. */
  again(node) {
    return this.answer(node.parent);
  }

  /** Answer the last question once more. */
  againLast() {
    const last = path(this.conversation).at(-1);
    if (last) this.answer(last.role === "assistant" ? last.parent : last.id);
  }

  /** Say a message otherwise, as a branch beside it. */
  edit(node) {
    const element = this.list.querySelector(`[data-id="${node.id}"]`);
    const form = editForm(node, (text) => this.branch(node, text), () => this.draw());
    element.replaceChildren(form);
    const area = form.querySelector("textarea");
    area.style.height = `${area.scrollHeight}px`;
    area.focus();
  }

  /** Edit what was said last. */
  editLast() {
    const last = path(this.conversation).filter((node) => node.role === "user").at(-1);
    if (last) this.edit(last);
  }

  branch(node, text) {
    const other = add(this.conversation, node.parent, { role: "user", text });
    return this.answer(other.id);
  }

  sendResults(node, results) {
    let parent = node.id;
    node.calls.forEach((call, index) => {
      const result = { role: "tool", callId: call.id, name: call.name, text: results[index] };
      parent = add(this.conversation, parent, result).id;
    });
    return this.answer(parent);
  }

  draw() {
    const shown = path(this.conversation);
    const top = this.scroller.scrollTop;
    const elements = shown.map((node) => messageElement(node, this.place(node), this));
    const last = shown.at(-1);
    if (last?.calls?.length && last.state !== "running") {
      elements.push(resultsForm(last, (results) => this.sendResults(last, results)));
    }
    this.list.replaceChildren(...(elements.length ? elements : [this.welcome()]));
    this.scroller.scrollTop = top;
    this.showLatest();
  }

  drawAndFollow() {
    const follow = this.isNearEnd();
    this.draw();
    if (follow) this.toEnd();
  }

  place(node) {
    const all = siblings(this.conversation, node);
    const index = all.indexOf(node);
    const move = (step) => {
      this.stop();
      select(this.conversation, all[index + step]);
      this.save(this.conversation);
      this.draw();
    };
    return { index, count: all.length, move };
  }

  welcome() {
    const name = this.conversation.settings.model ?? "";
    const suggest = (text) =>
      h("button", { type: "button", onclick: () => this.say(text) }, text);
    return h("section.welcome", { "aria-label": "Suggestions" },
      h("h1", {}, "What would you like to ask?"),
      h("p", {}, name ? `${name} answers, through your own gateway.` : "No model is served yet."),
      h("div.suggestions", {}, SUGGESTIONS.map(suggest)));
  }

  refresh(conversation, node) {
    const element = this.list.querySelector(`[data-id="${node.id}"]`);
    if (!element || this.conversation !== conversation) return;
    const follow = this.isNearEnd();
    updateAnswer(element, node);
    updateFigures(element, node);
    if (follow) this.toEnd();
    else this.showLatest();
  }

  isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.showLatest();
  }

  showLatest() {
    $("latest").hidden = this.isNearEnd();
  }
}

/** Draws at most once a frame, and the less often the longer drawing takes. */
class Pace {
  constructor(draw) {
    this.draw = draw;
    this.waiting = 0;
    this.pauseMs = SHORTEST_MS;
  }

  request() {
    this.waiting ||= setTimeout(() => this.now(), this.pauseMs);
  }

  now() {
    const began = performance.now();
    this.waiting = 0;
    this.draw();
    this.pauseMs = Math.max(SHORTEST_MS, 4 * (performance.now() - began));
  }

  end() {
    clearTimeout(this.waiting);
    this.waiting = 0;
  }
}
