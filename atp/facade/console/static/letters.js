// Dead letters by cause, with a look at what a replay would do, and the replay.
import { act, clock, h, number, quiet, table } from "./page.js";

export function letters(found) {
  if (!found.groups.length) return quiet("Nothing was refused.");
  return table("Dead letters by cause", [["Reason"], ["Topic"], ["Letters", "number"], ["First"], ["Last"], ["Action"]], found.groups.map((group) =>
    h("tr", {}, h("th", { scope: "row" }, group.reason, h("br"), h("small", { class: "quiet" }, group.message)),
      h("td", {}, group.topic), h("td", { class: "number" }, number(group.letters)), h("td", {}, clock(group.first_seen)), h("td", {}, clock(group.last_seen)),
      h("td", {}, h("span", { class: "pair" }, button(group, "Check", true), button(group, "Replay", false))))));
}
function button(group, text, dry) {
  const body = { topic: group.topic, reason: group.reason, dry_run: dry };
  const words = (said) => dry ? `${said.good.length} records are good by now` : `${said.replayed} records replayed`;
  return h("button", {
    class: "second", "data-key": `${group.topic}/${group.reason}/${text}`, "aria-label": `${text} ${group.reason} of ${group.topic}`,
    onclick: () => act("letters-said", "/console/dead-letters/replay", body, words),
  }, text);
}
