// A workload's workers by host over time, in a fleet.

import { chart } from "./chart.js";
import { count } from "./format.js";

/** How many hosts have a colour of their own. */
const COLOURS = 8;

/** A chart that is there as soon as there is something to draw. `keptMs` is how long samples are kept. */
export function hostsOverTime(keptMs) {
  const box = chart({ title: "Workers of the plan, by host", series: [], show: count, whole: true, stacked: true });
  box.node.hidden = true;
  let samples = [];
  /** The hosts by their colours, so that one keeps its colour while others come and go. */
  const places = [];

  return {
    node: box.node,
    close: box.close,
    /** Takes what the host remembers, beside what it has told since. */
    began(before) {
      const newest = before.at(-1)?.at_ms ?? 0;
      samples = [...before, ...samples.filter((sample) => sample.at_ms > newest)];
    },
    /** Takes one more. What stays the same takes two. */
    add(sample) {
      const [before, last] = samples.slice(-2);
      if (last && same(before, sample) && same(last, sample)) last.at_ms = sample.at_ms;
      else if (!samples.length || samples.at(-1).at_ms < sample.at_ms) samples.push(sample);
      while (samples.length > 2 && samples[1].at_ms < sample.at_ms - keptMs) samples.shift();
    },
    draw(from, to) {
      box.node.hidden = samples.length === 0;
      if (samples.length) box.set({ samples, from, to, marks: [], series: seriesOf(samples, places) });
    },
  };
}

const same = (one, other) =>
  one.others === other.others && JSON.stringify(one.hosts) === JSON.stringify(other.hosts);

/** A line for each host of these samples. */
function seriesOf(samples, places) {
  const names = new Set(samples.flatMap((sample) => Object.keys(sample.hosts)));
  for (const name of names) {
    if (places.includes(name)) continue;
    const free = places.findIndex((old) => !names.has(old));
    places[free < 0 ? places.length : free] = name;
  }
  const lines = places.map((name, i) => ({
    name,
    class: `s${1 + (i % COLOURS)}`,
    step: true,
    value: (sample) => sample.hosts[name] ?? 0,
  }));
  const others = { name: "others", class: "others", step: true, value: (sample) => sample.others };
  const here = lines.filter((line) => names.has(line.name));
  return samples.some((sample) => sample.others > 0) ? [...here, others] : here;
}
