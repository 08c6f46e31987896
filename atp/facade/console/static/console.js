"use strict";
// The console: the server sends its whole state now and then; a part is drawn anew only when what it shows changed,
// and what had the keyboard keeps it.

const SIGNS = { CONFIDENT: ["●", ""], CONSERVATIVE: ["◐", "careful"], SUSPENDED: ["■", "stop"] };
const KINDS = { DELAYED: "delayed but safe", UNTRUSTED: "current but untrusted", OPERATOR: "by an operator" };
const drawn = new Map();
const SVG = "http://www.w3.org/2000/svg";

function h(name, properties, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) found.setAttribute(key, value);
  }
  found.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return found;
}
function svg(name, attributes, ...children) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}
function chip(text, sign, kind) {
  return h("span", { class: `chip ${kind || ""}` }, h("span", { "aria-hidden": "true" }, sign), text);
}
function table(label, heads, rows) {
  const head = heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text));
  const box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label });
  box.append(h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
  return box;
}
const quiet = (text) => h("p", { class: "quiet" }, text);
const number = (value) => Number(value).toLocaleString("en");
let today = "";
function clock(instant) { // the date only where it is another day than today
  if (!instant) return "–";
  const [date, time] = [instant.slice(0, 10), instant.slice(11, 19)];
  return date === today ? time : `${date} ${time}`;
}
function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function draw(name, shown, build) {
  const text = JSON.stringify(shown);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  const place = document.querySelector(`[data-part="${name}"]`);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  place.replaceChildren(...[build(shown)].flat());
  if (focused) place.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function channels(rows) {
  if (!rows.length) return quiet("No record is published yet.");
  const names = [...new Set(rows.map((row) => row.channel))];
  const regions = [...new Set(rows.map((row) => row.region))];
  fill("regions", regions);
  fill("channel-names", names);
  const at = new Map(rows.map((row) => [`${row.region}|${row.channel}`, row]));
  const lines = regions.map((region) =>
    h("tr", {}, h("th", { scope: "row" }, region), names.map((name) => h("td", {}, cell(at.get(`${region}|${name}`))))));
  return table("Modes by region and channel", [["Region"], ...names.map((name) => [name])], lines);
}
function cell(row) {
  if (!row) return "–";
  const [sign, kind] = SIGNS[row.mode] || ["?", "careful"];
  const parts = [chip(row.mode, sign, kind)];
  if (row.mode !== "CONFIDENT") {
    const why = [KINDS[row.kind] || row.kind, row.cause === row.kind ? "" : row.cause].filter(Boolean).join(", ");
    parts.push(h("small", {}, `${why || "no cause given"}, since ${clock(row.since)}`));
  }
  const careful = row.careful ? `, ${number(row.careful)} careful` : "";
  parts.push(h("small", {}, row.records ? `${number(row.records)} records${careful}` : "no records"));
  if (row.answered_by === "LEGACY") parts.push(chip("legacy mart answers", "▸", "plain"));
  return h("div", { class: "cell" }, parts);
}
function fill(id, values) {
  document.getElementById(id).replaceChildren(...values.map((value) => h("option", { value })));
}

function freshness(shown) {
  const parts = [];
  if (!shown.sources.length) parts.push(quiet("No source has sent a heartbeat yet."));
  else parts.push(table("Sources", [["Source"], ["Region"], ["Behind", "number"], ["Last minutes"], ["Judged"]], shown.sources.map(source)));
  parts.push(documents(shown.topic, "No region's freshness has been measured yet."));
  return parts;
}
function source(row) {
  const late = row.age_s > row.target_s;
  return h("tr", {}, h("th", { scope: "row" }, row.source), h("td", {}, row.region),
    h("td", { class: "number" }, span(row.age_s)), h("td", {}, spark(row.history, row.target_s, row.source)),
    h("td", {}, late ? chip("late", "◐", "careful") : chip("in time", "●")));
}
function spark(history, target, name) {
  const top = Math.max(target * 1.2, ...history), step = 120 / Math.max(1, history.length - 1);
  const y = (value) => (25 - (value / top) * 24).toFixed(1);
  const points = history.map((value, at) => `${(at * step).toFixed(1)},${y(value)}`).join(" ");
  return svg("svg", { class: "spark", viewBox: "0 0 120 26", role: "img", "aria-label": `${name}: seconds behind over the last minutes; dashed: the floor` },
    svg("line", { x1: 0, x2: 120, y1: y(target), y2: y(target) }), svg("polyline", { points }));
}

function documents(found, none) {
  if (found.missing) return quiet(`The topic ${found.topic} does not exist on this broker: nothing writes it yet.`);
  if (!found.rows.length) return quiet(none);
  const names = [...new Set(found.rows.flatMap((row) => Object.keys(row)))].filter((name) => typeof found.rows[0][name] !== "object").slice(0, 7);
  const rows = found.rows.slice(0, 50).map((row) => h("tr", {}, names.map((name) => h("td", {}, String(row[name] ?? "–")))));
  const more = found.count > 50 ? [quiet(`${number(found.count)} in all`)] : [];
  return h("div", {}, table(found.topic, names.map((name) => [name]), rows), ...more);
}

function letters(found) {
  if (!found.groups.length) return quiet("Nothing was refused.");
  return table("Dead letters by cause", [["Reason"], ["Topic"], ["Letters", "number"], ["Last"], ["Action"]], found.groups.map((group) =>
    h("tr", {}, h("th", { scope: "row" }, group.reason, h("br"), h("small", { class: "quiet" }, group.message)),
      h("td", {}, group.topic), h("td", { class: "number" }, number(group.letters)), h("td", {}, clock(group.last_seen)),
      h("td", {}, h("button", {
        class: "second", "data-key": `${group.topic}/${group.reason}`, "aria-label": `Replay ${group.reason} of ${group.topic}`,
        onclick: () => act("letters-said", "/console/dead-letters/replay", { topic: group.topic, reason: group.reason }),
      }, "Replay")))));
}

function workers(shown) {
  return shown.workers.map((worker) => h("div", {}, h("p", { class: "quiet" }, `${worker.worker} ${worker.error || "answers"}`),
    Object.entries(worker.lanes).map(([lane, tasks]) => h("ul", { class: "tasks", "aria-label": `Tasks of lane ${lane}` },
      [...tasks].sort((a, b) => a.partition - b.partition).map((task) => taskItem(lane, task))))));
}
function taskItem(lane, task) {
  const good = task.state === "RUNNING", waiting = Object.values(task.lag).reduce((a, b) => a + b, 0);
  const said = task.state === "RESTORING"
    ? `${number(task.restored_records)} restored${task.restore_eta_s === null ? "" : `, ${Math.round(task.restore_eta_s)} s left`}`
    : `${number(waiting)} waiting`;
  const bar = task.state === "RESTORING" ? h("progress", { "aria-label": `Restore of ${lane}/${task.partition}` }) : null;
  return h("li", {}, `${lane}/${task.partition} `, chip(task.state, good ? "●" : task.state === "FAILED" ? "■" : "◐", good ? "" : task.state === "FAILED" ? "stop" : "careful"),
    h("small", {}, said), bar, task.last_error ? h("small", {}, task.last_error) : null);
}

function show(state) {
  today = state.now.slice(0, 10);
  const ready = document.getElementById("ready");
  const { state: word, untrusted, problems, restored_share: share } = state.ready;
  const kind = !state.ready.ready ? "stop" : word !== "FOLLOWING" || problems.length ? "careful" : "";
  ready.className = `pill ${kind}`;
  ready.textContent = word === "RESTORING" ? `◐ RESTORING ${Math.round(share * 100)} %`
    : `${kind ? "◐" : "●"} ${word}${untrusted.length ? `, ${untrusted.length} channels not confident` : ""}${problems.length ? `, ${problems[0]}` : ""}`;
  document.getElementById("live").textContent = `Live, ${today} ${clock(state.now)} UTC, ${number(state.ready.keys)} records`;
  draw("channels", state.channels, channels);
  draw("freshness", { sources: state.sources, topic: state.freshness }, freshness);
  draw("exceptions", state.exceptions, (found) => documents(found, "No exception is open."));
  draw("ledger", state.ledger, (found) => documents(found, "No day has been written yet."));
  draw("letters", state.dead_letters, letters);
  draw("workers", { workers: state.workers.map((w) => ({ ...w, lanes: quieten(w.lanes) })) }, workers);
}
function quieten(lanes) { // what changes with every look and is not shown
  return Object.fromEntries(Object.entries(lanes).map(([lane, tasks]) => [lane, tasks.map(({ state, partition, lag, restored_records, restore_eta_s, last_error }) =>
    ({ state, partition, lag, restored_records: state === "RESTORING" ? restored_records : 0, restore_eta_s, last_error }))]));
}

function say(id, text, wrong) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.classList.toggle("wrong", Boolean(wrong));
}
async function act(id, url, body) {
  say(id, "…");
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json", "x-atp-console": "1" }, body: JSON.stringify(body) });
  const said = await response.json();
  if (!response.ok) say(id, said.detail, true);
  else say(id, said.said || `${said.replayed} records replayed`);
}
document.getElementById("mode-form").addEventListener("submit", (event) => {
  event.preventDefault();
  act("mode-said", "/console/modes", Object.fromEntries(new FormData(event.target)));
});
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

const events = new EventSource("/console/events");
events.addEventListener("state", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => { document.getElementById("live").textContent = "Connection lost, trying again …"; });
