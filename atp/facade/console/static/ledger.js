// Days of the ledger: status, completeness and revision of every business date and region.
import { chip, clock, h, number, quiet, table, unfold } from "./page.js";

const STATUS = { FINAL: ["●", ""], PROVISIONAL: ["◐", "careful"], RESTATED: ["↻", ""], OPEN: ["○", "plain"] };

export function ledger(shown) {
  const wrong = shown.error ? [h("p", { class: "said wrong" }, shown.error)] : [];
  if (!shown.days.length) return [...wrong, quiet(`No day has been closed in ${shown.target}.`)];
  const at = new Map(shown.days.map((day) => [`${day.date}|${day.region}`, day]));
  const dates = [...new Set(shown.days.map((day) => day.date))];
  const lines = dates.map((date) => h("tr", {}, h("th", { scope: "row" }, date), shown.regions.map((region) => h("td", {}, cell(at.get(`${date}|${region}`))))));
  return [...wrong, table("Days of the ledger", [["Date"], ...shown.regions.map((region) => [region])], lines)];
}
function cell(day) {
  const parts = [chip(day.status, ...(STATUS[day.status] || ["?", "careful"]))];
  if (day.status === "OPEN") return h("div", { class: "cell" }, parts, h("small", {}, "not closed"));
  if (day.stand && day.stand !== "CLOSED") parts.push(chip(day.stand, ...(day.stand === "BROKEN" ? ["■", "stop"] : ["◐", "careful"])));
  if (day.problem) parts.push(h("small", {}, day.problem));
  const share = day.completeness === null ? "no totals to compare" : `${Math.floor(day.completeness * 1e5) / 1e3} % complete`;
  parts.push(h("small", {}, `revision ${day.revision}, ${share}`));
  const lines = [
    `${day.closed_at ? `closed ${clock(day.closed_at)}` : "not closed yet"}, ${number(day.rows)} rows`, ...day.missing.map((text) => `missing: ${text}`),
    ...Object.entries(day.differences).map(([cause, units]) => `difference to operations: ${cause} ${units > 0 ? "+" : ""}${number(units)}`),
    ...(day.exceptions ? [`${number(day.exceptions)} exceptions`] : []),
  ];
  return h("div", { class: "cell" }, parts, unfold(`ledger/${day.date}|${day.region}`, day.missing.length ? `${day.missing.length} missing` : "More", lines));
}
