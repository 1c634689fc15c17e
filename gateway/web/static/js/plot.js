// A small plot of the last two minutes: lines over one scale, the newest at the right.

import { h, s } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 96;
const TOP = 6;

/** Return a card: a title, what the newest values are, and their lines. */
export function card(title, unit, names) {
  const values = names.map((name, index) =>
    h("span.value", { "data-line": index }, h("b", {}, "-"), h("small", {}, name)));
  const drawing = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none",
    class: "plot", role: "img", "aria-label": `${title}, the last two minutes` });
  const scale = h("span.scale", {}, "");
  const element = h("section.tile", { "aria-label": title },
    h("header", {}, h("h2", {}, title), h("span.unit", {}, unit)),
    h("div.values", {}, values),
    h("div.frame", {}, drawing, scale));
  return { element, show: (series, format) => show({ drawing, values, scale }, series, format) };
}

function show({ drawing, values, scale }, series, format) {
  const known = series.flat().filter((value) => value !== undefined);
  const top = niceTop(Math.max(0, ...known));
  drawing.replaceChildren(gridLine(TOP), gridLine(HEIGHT / 2), gridLine(HEIGHT - 1),
    ...series.flatMap((points, index) => lines(points, index, top, series.length === 1)));
  scale.textContent = known.length ? format(top) : "";
  series.forEach((points, index) => {
    const newest = points.at(-1);
    values[index].firstChild.textContent = newest === undefined ? "-" : format(newest);
  });
}

function gridLine(y) {
  return s("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: "grid" });
}

/** Return a line for each stretch without a gap; one line alone is filled below. */
function lines(points, index, top, isAlone) {
  const step = WIDTH / Math.max(1, points.length - 1);
  const stretches = [[]];
  points.forEach((value, place) => {
    if (value === undefined) stretches.push([]);
    else stretches.at(-1).push([place * step, HEIGHT - 1 - (value / top) * (HEIGHT - TOP - 1)]);
  });
  return stretches.filter((stretch) => stretch.length).flatMap((stretch) => {
    const path = `M${stretch.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
    const single = stretch.length === 1 ? `${path}h1` : path;
    const line = s("path", { d: single, class: "line", "data-line": index });
    if (!isAlone) return [line];
    const area = `${path}L${stretch.at(-1)[0].toFixed(1)} ${HEIGHT}L${stretch[0][0].toFixed(1)} ${HEIGHT}Z`;
    return [s("path", { d: area, class: "area" }), line];
  });
}

function niceTop(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((factor) => factor * power >= value) * power;
}
