// Prometheus' text format, and what two looks at it say. Pure.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Return the samples of a page, by name: lists of labels and values. */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line[0] === "#" ? null : SAMPLE.exec(line);
    if (!match) continue;
    const [, name, labels = "", value] = match;
    const sample = { labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, k, v]) => [k, v])),
      value: Number(value.replace("Inf", "Infinity")) };
    found.set(name, [...(found.get(name) ?? []), sample]);
  }
  return found;
}

/** Return the sum over all labels; undefined where there is no such sample. */
export function total(samples, name) {
  const all = samples.get(name);
  return all?.reduce((sum, { value }) => sum + value, 0);
}

/** Return a histogram's buckets, summed over all other labels: upper bounds to counts. */
export function buckets(samples, name) {
  const counts = new Map();
  for (const { labels, value } of samples.get(`${name}_bucket`) ?? []) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

/** Return the quantile of what was observed between two looks; undefined for nothing observed. */
export function quantile(before, after, share) {
  const bounds = [...after.keys()].sort((one, other) => one - other);
  const grown = bounds.map((bound) => after.get(bound) - (before.get(bound) ?? 0));
  const all = grown.at(-1) ?? 0;
  if (all <= 0) return undefined;
  const rank = share * all;
  const index = grown.findIndex((count) => count >= rank);
  const [low, under] = index ? [bounds[index - 1], grown[index - 1]] : [0, 0];
  if (bounds[index] === Infinity) return low;
  return low + ((bounds[index] - low) * (rank - under)) / (grown[index] - under || 1);
}
