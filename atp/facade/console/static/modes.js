// The channels: mode, kind of degradation, cause and since when, per region and channel; and an operator's word.
import { act, age, chip, clock, fill, h, number, quiet, table, unfold } from "./page.js";

export const SIGNS = { CONFIDENT: ["●", ""], CONSERVATIVE: ["◐", "careful"], SUSPENDED: ["■", "stop"] };
const KINDS = {
  DELAYED: ["◷", "delayed but safe"], UNTRUSTED: ["≠", "current but untrusted"], OPERATOR: ["⚑", "by an operator"],
};

export function channels(rows) {
  if (!rows.length) return quiet("No record is published yet.");
  const names = [...new Set(rows.map((row) => row.channel))], regions = [...new Set(rows.map((row) => row.region))];
  fill("regions", regions);
  fill("channel-names", names);
  const at = new Map(rows.map((row) => [`${row.region}|${row.channel}`, row]));
  const lines = regions.map((region) =>
    h("tr", {}, h("th", { scope: "row" }, region), names.map((name) => h("td", {}, cell(at.get(`${region}|${name}`))))));
  return table("Modes by region and channel", [["Region"], ...names.map((name) => [name])], lines);
}
function cell(row) {
  if (!row) return "–";
  const parts = [chip(row.mode, ...(SIGNS[row.mode] || ["?", "careful"]))];
  if (row.mode !== "CONFIDENT") parts.push(...degradation(row));
  const careful = row.careful ? `, ${number(row.careful)} careful` : "";
  parts.push(h("small", {}, row.records ? `${number(row.records)} records${careful}` : "no records"));
  if (row.answered_by === "LEGACY") parts.push(chip("legacy mart answers", "▸", "plain"));
  return h("div", { class: "cell" }, parts);
}
function degradation(row) {
  const kinds = row.kinds.map((kind) => h("small", { class: "kind" }, h("span", { "aria-hidden": "true" }, `${KINDS[kind]?.[0] || "?"} `), KINDS[kind]?.[1] || kind));
  const why = h("small", {}, `${row.causes.join(" + ") || "no cause given"}, since ${clock(row.since)}, `, age(row.since));
  const lines = [row.reason, ...row.evidence, row.expires_at ? `until ${clock(row.expires_at)}` : "", row.runbook ? `what to do: ${row.runbook}` : ""].filter(Boolean);
  return [...kinds, why, lines.length ? unfold(`${row.region}|${row.channel}`, "Why", lines) : null];
}

export function changes(rows) {
  if (!rows.length) return null;
  const lines = rows.map((row) => h("tr", {}, h("td", {}, clock(row.at)), h("th", { scope: "row" }, `${row.region}|${row.channel}`),
    h("td", {}, `${row.from} → ${row.to}`), h("td", {}, row.cause), h("td", {}, [row.by, row.reason].filter(Boolean).join(": ") || "–")));
  return h("details", { "data-key": "changes" }, h("summary", { "data-key": "changes/summary" }, "Latest switches"),
    table("Latest switches", [["At"], ["Channel"], ["Mode"], ["Cause"], ["By, and why"]], lines));
}

document.getElementById("mode-form").addEventListener("submit", (event) => {
  event.preventDefault();
  act("mode-said", "/console/modes", Object.fromEntries(new FormData(event.target)));
});
