// Workers and their tasks: what runs, what waits, how far a restore has come.
import { chip, h, number, quiet } from "./page.js";

export function workers(shown) {
  const wrong = shown.problems.map((problem) => h("li", {}, problem));
  return [
    wrong.length ? h("ul", { class: "wrongs", "aria-label": "What is wrong" }, wrong) : quiet("Every partition of every lane runs."),
    ...shown.workers.map((worker) => h("div", {}, h("p", { class: "quiet" }, `${worker.worker} ${worker.error || "answers"}`),
      Object.entries(worker.lanes).map(([lane, tasks]) => h("ul", { class: "tasks", "aria-label": `Tasks of lane ${lane}` },
        [...tasks].sort((a, b) => a.partition - b.partition).map((task) => item(lane, task)))))),
  ];
}
function item(lane, task) {
  const kind = task.state === "RUNNING" ? "" : task.state === "FAILED" ? "stop" : "careful";
  const restoring = task.state === "RESTORING", waiting = Object.values(task.lag).reduce((a, b) => a + b, 0);
  return h("li", {}, `${lane}/${task.partition} `, chip(task.state, { "": "●", stop: "■", careful: "◐" }[kind], kind),
    h("small", {}, restoring ? restored(task) : `${number(waiting)} waiting`), restoring ? progress(lane, task) : null,
    task.last_error ? h("small", {}, task.last_error) : null);
}
function restored(task) {
  const left = task.restore_eta_s === null ? "" : `, ${Math.round(task.restore_eta_s)} s left`;
  return `${number(task.restored_records)} restored${left}`;
}
function progress(lane, task) { // what is left is known by the pace so far; without a pace the bar runs
  const left = task.restore_eta_s === null ? null : task.restore_eta_s * task.restore_rate;
  const share = left === null ? {} : { value: task.restored_records, max: Math.max(1, task.restored_records + left) };
  return h("progress", { "aria-label": `Restore of ${lane}/${task.partition}`, ...share });
}
export function quieten(shown) { // what changes with every look and is not shown
  const task = ({ state, partition, lag, restored_records, restore_rate, restore_eta_s, last_error }) => state === "RESTORING"
    ? { state, partition, lag, restored_records, restore_rate, restore_eta_s, last_error } : { state, partition, lag, last_error };
  const lanes = (found) => Object.fromEntries(Object.entries(found).map(([lane, tasks]) => [lane, tasks.map(task)]));
  return { ...shown, workers: shown.workers.map((worker) => ({ ...worker, lanes: lanes(worker.lanes) })) };
}
