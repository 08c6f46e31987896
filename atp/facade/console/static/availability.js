// Why this number: the waterfall of a record, as `atp explain` reckons it.
import { SIGNS } from "./modes.js";
import { chip, clock, h, number, quiet, say, svg, table } from "./page.js";

document.getElementById("why-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("why-said", "Reading the facts …");
  const response = await fetch(`/console/explain?${new URLSearchParams(new FormData(event.target))}`);
  const found = await response.json();
  document.getElementById("waterfall").replaceChildren(...(response.ok ? waterfall(found) : []));
  if (!response.ok) say("why-said", found.detail, true);
  else say("why-said", `${found.sku} in ${found.region} at ${clock(found.now)}: ATP ${found.figures.atp}, from ${found.facts.length} facts`);
});

function waterfall(found) {
  const figures = found.figures, first = figures.buckets[0];
  const least = figures.buckets.reduce((low, bucket) => (bucket.projected < low.projected ? bucket : low), first);
  const steps = [
    ["Sellable", figures.sellable], [`Receiving (${figures.receiving} × ${figures.receiving_weight})`, figures.receiving_weighted],
    ["Inbound supply due today", first.supply], ["Demand due today", -first.demand], ["Holds: shipped by OMS, not yet by WMS", -figures.holds],
  ];
  if (least.projected < first.projected) steps.push([`Kept for ${least.date}`, least.projected - first.projected]);
  let level = 0;
  const bars = steps.map(([text, units]) => { const from = level; level += units; return [text, units, from, level, units < 0 ? "minus" : "plus"]; });
  bars.push(["ATP now", figures.atp - figures.shortage, 0, level, "total"]);
  const low = Math.min(0, ...bars.map((bar) => Math.min(bar[2], bar[3]))), high = Math.max(1, ...bars.map((bar) => Math.max(bar[2], bar[3])));
  const x = (value) => ((value - low) / (high - low)) * 100;
  const rows = bars.map(([text, units, from, to, kind]) => h("tr", { class: kind === "total" ? "sum" : null }, h("th", { scope: "row" }, text),
    h("td", { class: "number" }, kind === "total" ? number(units) : `${units < 0 ? "−" : "+"}${number(Math.abs(units))}`),
    h("td", { class: "track" }, svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      units === 0 ? "" : svg("rect", { class: kind, x: Math.min(x(from), x(to)), width: Math.max(0.4, Math.abs(x(to) - x(from))), y: 1, height: 8, rx: 0.6 })))));
  const fall = table("Waterfall", [["Component"], ["Units", "number"], ["Share"]], rows);
  fall.firstChild.classList.add("fall");
  const offers = Object.entries(figures.channels).map(([name, offer]) => h("tr", {}, h("th", { scope: "row" }, name),
    h("td", {}, chip(offer.mode, ...(SIGNS[offer.mode] || ["?", "careful"]))), h("td", { class: "number" }, number(offer.sellable)),
    h("td", { class: "number" }, number(offer.confident)), h("td", { class: "number" }, number(offer.conservative)),
    h("td", {}, Object.entries(offer.reasons).map(([reason, why]) => `${reason}: ${why}`).join("; ") || "–")));
  const differs = found.differs && Object.keys(found.differs).length
    ? quiet(`The published record differs in ${Object.keys(found.differs).join(", ")}; ${found.waiting} facts wait.`) : quiet("The published record says the same.");
  return [fall, table("Channels of the record", [["Channel"], ["Mode"], ["Sellable", "number"], ["Confident", "number"], ["Conservative", "number"], ["Reasons"]], offers), differs];
}
