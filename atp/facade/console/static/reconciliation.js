// Drift and exceptions: what each snapshot said, what lies open, and a person's word on what is proposed.
import { act, age, chip, clock, find, h, number, quiet, say, table, unfold } from "./page.js";

const OUTCOMES = { CLEAN: ["●", ""], DRIFT: ["≠", "stop"], INCOMPLETE: ["◐", "careful"], MISSING: ["○", "careful"] };
const STATES = { PROPOSED: ["◆", "careful"], OPEN: ["■", "stop"], APPROVED: ["▸", ""], APPLIED: ["◐", ""] };

export function drift(rows) {
  if (!rows.length) return quiet("No snapshot was judged yet.");
  return table("Drift by region and source", [["Region"], ["Source"], ["Verdict"], ["Drifting keys", "number"], ["Drifted units", "number"], ["Promised too many", "number"], ["As of"], ["Not arrived"]],
    rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.region), h("td", {}, row.source, row.kind ? h("small", {}, ` ${row.kind}`) : null),
      h("td", {}, row.outcome ? chip(row.outcome, ...(OUTCOMES[row.outcome] || ["?", "careful"])) : row.detail, within(row) ? h("small", {}, " within limits") : null),
      ...(row.outcome && row.outcome !== "MISSING" ? [of(row.drifting_keys, row.keys), of(row.drifted_units, row.units), units(row.over_promised_units)] : [units(null), units(null), units(null)]),
      h("td", {}, clock(row.as_of)), h("td", {}, row.missing.length ? unfold(`missing/${row.region}|${row.source}|${row.kind}`, `${row.missing.length} missing`, row.missing) : "nothing missing"))));
}
const within = (row) => row.outcome === "CLEAN" && row.drifting_keys > 0;
const units = (value) => h("td", { class: "number" }, value === null ? "–" : number(value));
const of = (part, whole) => h("td", { class: "number" }, `${number(part)} of ${number(whole)}`);

export function exceptions(found) {
  if (!found.count) return quiet("No exception is open.");
  const rows = found.rows.map((one) => h("tr", { "data-id": one.exception_id },
    h("th", { scope: "row" }, one.sku, h("br"), h("small", { class: "quiet" }, `${one.region}, ${one.about}`)),
    h("td", {}, words(one.cause), h("br"), h("small", { class: "quiet" }, `owner ${one.owner}`)),
    h("td", {}, chip(one.state, ...(STATES[one.state] || ["?", "careful"]))),
    h("td", { class: "number" }, number(one.units), one.over_promised_units ? h("small", {}, h("br"), `${number(one.over_promised_units)} promised too many`) : null),
    h("td", {}, age(one.opened_at)), h("td", {}, evidence(one)), h("td", {}, buttons(one))));
  const more = found.count > found.rows.length ? `, the most urgent ${found.rows.length} of them here; atp exceptions list has all` : "";
  return [quiet(`${number(found.count)} open, ${number(found.proposed)} wait for a person${more}.`),
    table("Open exceptions", [["SKU and place"], ["Cause"], ["State"], ["Units", "number"], ["Age"], ["Evidence"], ["Decision"]], rows)];
}
const words = (code) => code.toLowerCase().replaceAll("_", " ");
const sides = (one) => Object.keys({ ...one.ours, ...one.theirs }).map((name) => `${name}: ours ${one.ours[name] ?? 0}, theirs ${one.theirs[name] ?? 0}`);
function evidence(one) {
  const steps = one.history.map((step) => `${clock(step.at)} ${step.state} by ${step.by}${step.why ? `: ${step.why}` : ""}`);
  return unfold(one.exception_id, sides(one)[0] || "no figures",
    [...sides(one).slice(1), `${one.source}'s ${one.kind} snapshot ${one.snapshot_id}, as of ${clock(one.as_of)}`, ...(one.correction ? [`correction ${one.correction}`] : []), ...steps, one.exception_id]);
}
function buttons(one) {
  if (one.state !== "PROPOSED") return "–";
  return h("span", { class: "pair" }, ["approve", "reject"].map((verb) => h("button", {
    class: "second", "data-key": `${one.exception_id}/${verb}`, "aria-label": `${titled(verb)} ${one.sku}, ${one.about}`, onclick: () => ask(one, verb),
  }, titled(verb))));
}
const titled = (verb) => verb[0].toUpperCase() + verb.slice(1);

const dialog = document.getElementById("decide"), form = dialog.querySelector("form");
let asked = null;
function ask(one, verb) {
  asked = { exception_id: one.exception_id, verb };
  document.getElementById("decide-title").textContent = `${titled(verb)} the correction of ${one.sku}, ${one.about}`;
  const effect = verb === "approve" ? "Our state becomes theirs, as of the snapshot:" : "Our state stays; the snapshot is known to be wrong:";
  dialog.querySelector("[data-part=decide]").replaceChildren(quiet(effect), h("ul", {}, sides(one).map((line) => h("li", {}, line))));
  form.querySelector("button").textContent = titled(verb);
  form.reset();
  say("decide-said", "");
  dialog.showModal();
  form.elements.reason.focus();
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button"), word = { ...asked, reason: form.elements.reason.value };
  button.disabled = true;
  const done = await act("decide-said", "/console/exceptions", word);
  button.disabled = false;
  if (!done) return;
  say("exceptions-said", document.getElementById("decide-said").textContent);
  if (dialog.open && asked.exception_id === word.exception_id) dialog.close();
});
document.getElementById("decide-cancel").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { // the button may have gone with the exception's state
  const room = document.getElementById("exceptions");
  (find(room, `${asked.exception_id}/${asked.verb}`) || room).focus();
});
