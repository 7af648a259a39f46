// Charts drawn in SVG: the traffic of the last minutes, and that of the last days.

import { bytes, rate } from "./format.js";
import { KEPT, on, samples } from "./live.js";
import { h, show, svg } from "./view.js";

const WIDTH = 600;
const HEIGHT = 140;

/** The traffic of the last minutes, drawn anew every second. */
export function trafficChart(signal) {
  const area = { in: svg("path", { class: "area in" }), out: svg("path", { class: "area out" }) };
  const line = { in: svg("path", { class: "line in" }), out: svg("path", { class: "line out" }) };
  const grid = [0.25, 0.5, 0.75].map((y) => svg("path", { class: "grid", d: `M0 ${HEIGHT * y}H${WIDTH}` }));
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };
  const drawing = svg("svg", attributes, grid, area.out, area.in, line.out, line.in);
  const now = { in: h("strong", {}, "–"), out: h("strong", {}, "–") };
  const top = h("span", { class: "top" });
  const draw = () => {
    const end = samples.at(-1)?.at ?? 0;
    const highest = Math.max(1024, ...samples.map((it) => Math.max(it.in ?? 0, it.out ?? 0)));
    const limit = niceLimit(highest);
    for (const key of ["in", "out"]) {
      const runs = pieces(key, end, limit);
      line[key].setAttribute("d", runs.map((run) => `M${run.join("L")}`).join(""));
      area[key].setAttribute("d", runs.map((run) => closed(run)).join(""));
      const value = samples.at(-1)?.[key];
      show(now[key], value === null || value === undefined ? "–" : rate(value));
    }
    show(top, rate(limit));
  };
  on(["traffic", "reset"], draw, signal);
  draw();
  const legend = h(
    "p",
    { class: "legend" },
    h("span", { class: "key in" }, "from users ", now.in),
    h("span", { class: "key out" }, "to users ", now.out),
  );
  const axis = h("p", { class: "axis", "aria-hidden": "true" }, h("span", {}, "5 min ago"), h("span", {}, "now"));
  return h("figure", { class: "chart" }, legend, h("div", { class: "plot" }, top, drawing), axis);
}

/** The points of one line, in pieces where there were no samples. */
function pieces(key, end, limit) {
  const runs = [];
  let run = [];
  for (const it of samples) {
    const x = WIDTH * (1 - (end - it.at) / KEPT);
    if (it[key] === null || x < 0) {
      if (run.length) runs.push(run);
      run = [];
      continue;
    }
    run.push(`${x.toFixed(1)} ${(HEIGHT * (1 - it[key] / limit)).toFixed(1)}`);
  }
  if (run.length) runs.push(run);
  return runs.filter((it) => it.length > 1);
}

function closed(run) {
  const x = (point) => point.split(" ")[0];
  return `M${x(run[0])} ${HEIGHT}L${run.join("L")}L${x(run.at(-1))} ${HEIGHT}Z`;
}

/** The next of 1, 2 and 5 times a power of 1024's digits, so that the axis does not move with every sample. */
function niceLimit(value) {
  let unit = 1;
  while (value / unit >= 1000) unit *= 1024;
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  return unit * (steps.find((it) => it >= value / unit) ?? 1000);
}

/** Bars of days, oldest first: `[{ date, trafficIn, trafficOut }]`. */
export function dayBars(history) {
  const most = Math.max(1, ...history.flatMap((it) => [it.trafficIn, it.trafficOut]));
  const rows = history.map((day) => {
    const bar = (kind, value) => {
      const fill = h("span", { class: `fill ${kind}` });
      fill.style.setProperty("--part", String(value / most));
      return h("td", {}, h("span", { class: "bar", title: bytes(value) }, fill), h("span", { class: "value" }, bytes(value)));
    };
    const name = new Date(`${day.date}T12:00`).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
    return h("tr", {}, h("th", { scope: "row" }, name), bar("in", day.trafficIn), bar("out", day.trafficOut));
  });
  const head = ["Day", "From users", "To users"].map((it) => h("th", { scope: "col" }, it));
  return h(
    "table",
    { class: "days" },
    h("caption", { class: "unseen" }, "Traffic by day"),
    h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows),
  );
}
