// The server as it is now, out of /metrics and /health/ready.

import * as api from "./api.js";
import { $, h } from "./dom.js";
import { card } from "./plot.js";
import { buckets, parse, quantile, total } from "./prometheus.js";

const EVERY_MS = 1000;
const SHOWN = 120;
const WINDOW = 15; // looks that a percentile is taken over
const SHARES = [0.5, 0.95, 0.99];
const IN_FLIGHT = "gateway_requests_in_flight";
const WAITING = "gateway_requests_waiting";
const COMPLETION = "gateway_completion_tokens_total";
const PROMPT = "gateway_prompt_tokens_total";
const FIRST = "gateway_time_to_first_token_seconds";
const PACE = "gateway_time_per_output_token_seconds";

const count = (value) => Math.round(value).toLocaleString("en");
const seconds = (value) =>
  value < 1 ? `${(value * 1000).toPrecision(value < 0.01 ? 2 : 3)} ms` : `${value.toFixed(2)} s`;

export class ServerView {
  /** `unauthorized` asks for a key, and calls back once there is one. */
  constructor(unauthorized) {
    this.unauthorized = unauthorized;
    this.looks = [];
    this.series = new Map();
  }

  /** Look every second, until stopped. */
  start() {
    if (this.timer) return;
    if (!this.tiles) this.draw();
    this.timer = setInterval(() => document.hidden || this.look(), EVERY_MS);
    this.look();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  draw() {
    const percentiles = ["p50", "p95", "p99"];
    this.tiles = {
      flight: card("In flight", "requests", ["all", "without a token yet"]),
      tokens: card("Tokens", "a second", ["answers", "prompts"]),
      first: card("Time to first token", "", percentiles),
      pace: card("Time per output token", "", percentiles),
    };
    this.models = h("section.tile.models", { "aria-label": "Models" });
    const elements = Object.values(this.tiles).map(({ element }) => element);
    $("dashboard").replaceChildren(h("div.tiles", {}, elements, this.models),
      h("p.note", {}, "Two minutes, a look every second; percentiles are of the last 15 seconds. ",
        h("a", { href: "metrics" }, "The metrics themselves")));
  }

  async look() {
    if (this.isLooking) return;
    this.isLooking = true;
    try {
      const text = await (await api.get("metrics")).text();
      this.looks.push({ at: performance.now() / 1000, samples: parse(text) });
      if (this.looks.length > SHOWN) this.looks.shift();
      await this.showState();
      this.show();
    } catch (error) {
      this.failed(error);
    } finally {
      this.isLooking = false;
    }
  }

  failed(error) {
    this.badge(error.message, "down");
    if (error.status === 401) {
      this.stop();
      this.unauthorized(() => this.start());
    }
  }

  async showState() {
    const models = await api.models();
    const rows = models.map(({ id, max_model_len: length, parent }) =>
      h("li", {}, h("b", {}, id), h("span", {}, parent ? `adapter of ${parent}` : `${count(length)} tokens of context`)));
    this.models.replaceChildren(h("header", {}, h("h2", {}, "Models")), h("ul", {}, rows));
    try {
      await api.get("health/ready");
      this.badge("Ready", "up");
    } catch (error) {
      this.badge(error.status === 503 ? "Not ready" : error.message, "down");
    }
  }

  badge(text, state) {
    const badge = $("server-state");
    if (badge.textContent !== text) badge.textContent = text;
    badge.dataset.state = state;
  }

  show() {
    const now = this.looks.at(-1);
    const before = this.looks.at(-2);
    const past = this.looks.at(-1 - WINDOW) ?? this.looks[0];
    const flight = [IN_FLIGHT, WAITING].map((name) => total(now.samples, name));
    this.push("flight", flight, count);
    this.push("tokens", [rate(before, now, COMPLETION), rate(before, now, PROMPT)], count);
    this.push("first", percentiles(past, now, FIRST), seconds);
    this.push("pace", percentiles(past, now, PACE), seconds);
  }

  push(name, values, format) {
    const series = this.series.get(name) ?? values.map(() => Array(SHOWN).fill(undefined));
    this.series.set(name, series);
    values.forEach((value, index) => {
      series[index].push(value);
      series[index].shift();
    });
    this.tiles[name].show(series, format);
  }
}

function rate(before, now, name) {
  if (!before) return undefined;
  const grown = (total(now.samples, name) ?? 0) - (total(before.samples, name) ?? 0);
  return Math.max(0, grown) / (now.at - before.at);
}

function percentiles(past, now, name) {
  const [one, other] = [past, now].map(({ samples }) => buckets(samples, name));
  return SHARES.map((share) => quantile(one, other, share));
}
