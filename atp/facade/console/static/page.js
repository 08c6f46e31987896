// What every room of the console is built with: elements, tables, chips, times; and how a part is drawn anew.

const SVG = "http://www.w3.org/2000/svg";
const drawn = new Map();

export function h(name, properties, ...children) {
  const found = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) found.setAttribute(key, value);
  }
  found.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return found;
}
export function svg(name, attributes, ...children) {
  const found = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.append(...children);
  return found;
}
// A state is told by sign and word; its colour only repeats it.
export function chip(text, sign, kind) {
  return h("span", { class: `chip ${kind || ""}` }, h("span", { "aria-hidden": "true" }, sign), text);
}
export function table(label, heads, rows) {
  const head = heads.map(([text, kind]) => h("th", { scope: "col", class: kind }, text));
  const box = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label });
  box.append(h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
  return box;
}
export function unfold(key, summary, ...lines) { // stays open when its part is drawn anew
  return h("details", { "data-key": key }, h("summary", { "data-key": `${key}/summary` }, summary),
    lines.flat().map((line) => h("p", { class: "quiet" }, line)));
}
export const quiet = (text) => h("p", { class: "quiet" }, text);
export const number = (value) => Number(value).toLocaleString("en");

let now = 0, today = "";
export function clock(instant) { // the date only where it is another day than today
  if (!instant) return "–";
  const [date, time] = [instant.slice(0, 10), instant.slice(11, 19)];
  return date === today ? time : `${date} ${time}`;
}
export function span(seconds) {
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
const since = (instant) => span(Math.max(0, Math.round((now - Date.parse(instant)) / 1000)));
export function age(instant) { // goes on by itself, so that its part need not be drawn anew
  return instant ? h("time", { class: "age", datetime: instant }, since(instant)) : "–";
}
export function tick(instant) {
  [now, today] = [Date.parse(instant), instant.slice(0, 10)];
  for (const place of document.querySelectorAll("time.age")) {
    const text = since(place.dateTime);
    if (place.textContent !== text) place.textContent = text;
  }
}

// A part is drawn only when what it shows changed; what had the keyboard keeps it
// (its room has it when it is gone), what was unfolded stays so.
export function draw(name, shown, build) {
  const text = JSON.stringify(shown);
  if (drawn.get(name) === text) return;
  drawn.set(name, text);
  const place = document.querySelector(`[data-part="${name}"]`);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const open = [...place.querySelectorAll("details[open]")].map((one) => one.dataset.key);
  place.replaceChildren(...[build(shown)].flat().filter(Boolean));
  for (const key of open) find(place, key)?.setAttribute("open", "");
  if (focused) (find(place, focused) || place.closest("section")).focus();
}
export const find = (place, key) => place.querySelector(`[data-key="${CSS.escape(key)}"]`);
export function fill(id, values) {
  const place = document.getElementById(id);
  if (place.childElementCount !== values.length) place.replaceChildren(...values.map((value) => h("option", { value })));
}

export function say(id, text, wrong) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.classList.toggle("wrong", Boolean(wrong));
}
// Do something, say at `id` what came of it; whether it was done.
export async function act(id, url, body, words = (said) => said.said) {
  say(id, "…");
  try {
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json", "x-atp-console": "1" }, body: JSON.stringify(body) });
    const said = await response.json();
    say(id, response.ok ? words(said) : said.detail, !response.ok);
    return response.ok;
  } catch (error) {
    say(id, `No answer: ${error.message}`, true);
    return false;
  }
}
