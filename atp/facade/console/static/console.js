// The console: the server sends its state, then the parts that change; each room draws its own.
import "./availability.js";
import { freshness } from "./freshness.js";
import { ledger } from "./ledger.js";
import { letters } from "./letters.js";
import { changes, channels } from "./modes.js";
import { clock, draw, number, tick } from "./page.js";
import { drift, exceptions } from "./reconciliation.js";
import { quieten, workers } from "./workers.js";

const READY = { ready: ["●", ""], degraded: ["◐", "careful"], unavailable: ["■", "stop"] };

function show(state) {
  tick(state.now);
  pill(state.ready);
  document.getElementById("live").textContent = `Live, ${state.now.slice(0, 10)} ${clock(state.now)} UTC, ${number(state.ready.keys)} records`;
  draw("channels", state.channels, channels);
  draw("changes", state.mode_changes, changes);
  draw("freshness", { rows: state.freshness, missing: state.missing.includes("atp.freshness.v1") }, freshness);
  draw("drift", state.drift, drift);
  draw("exceptions", state.exceptions, exceptions);
  draw("ledger", state.ledger, ledger);
  draw("letters", state.dead_letters, letters);
  draw("workers", quieten(state.workers), workers);
}
function pill(ready) {
  const place = document.getElementById("ready"), [sign, kind] = READY[ready.status];
  const text = [`${sign} ${ready.status}`, ...why(ready)].join(", ");
  place.className = `pill ${kind}`;
  if (place.textContent !== text) place.textContent = text;
}
function why(ready) {
  const counted = (list, words) => (list.length ? [`${list.length} ${words}`] : []);
  return [
    ...(ready.state === "RESTORING" ? [`restoring ${Math.round(ready.restored_share * 100)} %`] : []),
    ...(ready.state === "LAGGING" ? [`lagging ${Math.round(ready.age_ms / 1000)} s`] : []),
    ...counted(ready.delayed, "channels delayed"), ...counted(ready.untrusted, "channels untrusted"),
    ...counted(ready.by_operator, "held back by an operator"), ...counted(ready.unmeasured, "regions not measured"),
    ...ready.problems.slice(0, 1),
  ];
}

const state = {};
const events = new EventSource("/console/events");
events.addEventListener("state", (event) => show(Object.assign(state, JSON.parse(event.data))));
events.addEventListener("error", () => { document.getElementById("live").textContent = "Connection lost, trying again …"; });
