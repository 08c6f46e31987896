// Freshness: every region against its target with what is left of its budget, every source with its course.
import { age, chip, clock, h, number, quiet, span, svg, table } from "./page.js";

const STATES = { OK: ["in time", "●", ""], LATE: ["late", "◐", "careful"], SPENT: ["budget spent", "■", "stop"] };

export function freshness(shown) {
  if (shown.missing) return quiet("The topic atp.freshness.v1 does not exist on this broker: nothing measures yet.");
  if (!shown.rows.length) return quiet("No region's freshness has been measured yet.");
  const sources = shown.rows.flatMap((row) => row.sources.map((source) => sourceLine(row, source)));
  return [
    table("Regions against their target", [["Region"], ["Now"], ["Budget left"], ["Good checks", "number"], ["Target"], ["Measured"]], shown.rows.map(regionLine)),
    sources.length ? table("Sources", [["Region"], ["Source"], ["Behind", "number"], ["Course"], ["Lag p50, p95", "number"], ["In time", "number"]], sources)
      : quiet("No source has sent anything yet."),
  ];
}
function regionLine(row) {
  const state = row.measured ? chip(...(STATES[row.state] || [row.state, "?", "careful"])) : chip("not measured", "?", "stop");
  return h("tr", {}, h("th", { scope: "row" }, row.region), h("td", {}, state), h("td", {}, budget(row)),
    h("td", { class: "number" }, `${number(row.good_checks)} of ${number(row.checks)}`),
    h("td", {}, `${percent(row.target_share)} within ${span(row.target_s)}`),
    h("td", {}, clock(row.as_of)));
}
const percent = (share) => `${Math.round(share * 1000) / 10} %`;
function budget(row) {
  const left = Math.max(0, Math.min(1, row.budget_left));
  const text = row.budget_left < 0 ? `overdrawn by ${percent(-row.budget_left)}` : percent(row.budget_left);
  return h("span", { class: "budget" }, svg("svg", { viewBox: "0 0 60 8", "aria-hidden": "true" },
    svg("rect", { class: "all", width: 60, height: 8, rx: 2 }), svg("rect", { class: "left", width: left * 60, height: 8, rx: 2 })), text);
}
function sourceLine(region, row) {
  const late = row.silent ? chip("silent", "■", "stop") : null;
  const lag = row.lag_p95_ms === null ? "–" : `${brief(row.lag_p50_ms)}, ${brief(row.lag_p95_ms)}`;
  return h("tr", {}, h("td", {}, region.region), h("th", { scope: "row" }, row.source, " ", late),
    h("td", { class: "number" }, row.watermark ? age(row.watermark) : "no heartbeat"),
    h("td", {}, spark(row.behind_s, region.target_s, `${row.source} in ${region.region}`)),
    h("td", { class: "number" }, lag),
    h("td", { class: "number" }, row.facts ? `${percent(row.in_time / row.facts)} of ${number(row.facts)}` : "no facts"));
}
const brief = (ms) => (ms < 1000 ? `${ms} ms` : ms < 120_000 ? `${(ms / 1000).toFixed(1)} s` : span(Math.round(ms / 1000)));
function spark(behind, target, name) {
  const top = Math.max(target * 1.2, ...behind), step = 118 / Math.max(1, behind.length - 1);
  const y = (value) => (25 - (value / top) * 24).toFixed(1);
  const points = behind.map((value, at) => `${(1 + at * step).toFixed(1)},${y(value)}`);
  const last = points.length ? points[points.length - 1].split(",") : null;
  const label = behind.length
    ? `${name}: ${span(behind[behind.length - 1])} behind at the latest check, ${span(Math.max(...behind))} at most; dashed: the target`
    : `${name}: no course yet`;
  return svg("svg", { class: "spark", viewBox: "0 0 120 26", role: "img", "aria-label": label },
    svg("line", { x1: 0, x2: 120, y1: y(target), y2: y(target) }), svg("polyline", { points: points.join(" ") }),
    ...(last ? [svg("circle", { cx: last[0], cy: last[1], r: 1.8 })] : []));
}
