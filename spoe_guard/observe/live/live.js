"use strict";
// Brings the page up to date in place: what a reader has open, focused, selected or scrolled to stays as it is.
// Without it the page works by reloading. Nothing here makes markup of text: the server's page is parsed, never run.

const EVERY_MS = 5000;
const PATIENCE_MS = 10000;
let paused = false;
let asking = false;
let heard = new Date();

// Make `old` as `fresh` is. Elements with an id are told by it; with data-keep they are the script's own.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  if ("keep" in old.dataset) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  const ids = new Set([...fresh.children].map((child) => child.id));
  for (const child of [...old.children]) {
    if (child.id && !ids.has(child.id)) child.remove(); // first, so that what stays need not move: moving takes the focus
  }
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    while (at && at.nodeType === Node.TEXT_NODE && child.nodeType !== Node.TEXT_NODE) at = dropped(at);
    const same = counterpart(old, child, at);
    if (!same) {
      old.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, child);
  }
  while (at) at = dropped(at);
}

function counterpart(parent, child, at) {
  if (child.id) {
    const same = document.getElementById(child.id);
    return same && same.parentNode === parent ? same : null;
  }
  return at && at.nodeName === child.nodeName && !at.id ? at : null;
}

function dropped(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// What a reader who has scrolled down looks at: what has the focus, or else the first thing that begins on the screen.
function lookedAt() {
  if (!window.scrollY) return null;
  const shown = (element) => {
    const { top } = element.getBoundingClientRect();
    return top >= 0 && top < window.innerHeight;
  };
  const focused = document.activeElement;
  return focused !== document.body && shown(focused) ? focused : [...document.querySelectorAll("#incidents > li:not([hidden]), .route:not([hidden])")].find(shown);
}

function bringUpToDate(fresh) {
  const element = lookedAt();
  const before = element?.getBoundingClientRect().top;
  const focused = document.activeElement;
  morph(document.body, fresh.body);
  filter();
  if (focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true }); // it was moved
  if (element?.isConnected) window.scrollBy(0, element.getBoundingClientRect().top - before);
}

const words = document.getElementById("words");
const state = document.getElementById("state");

// Hide what does not have all the words: an incident in its text or its route's name and state, a route there or in an incident.
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text) => wanted.every((word) => text.toLowerCase().includes(word));
  const routes = [...document.querySelectorAll(".route")];
  const incidents = [...document.querySelectorAll("#incidents > li")];
  const named = new Map(routes.map(({ dataset }) => [dataset.name, `${dataset.name} ${dataset.state}`]));
  const met = new Set(routes.filter(({ dataset }) => !state.value || dataset.state === state.value).map(({ dataset }) => dataset.name));
  for (const each of incidents) {
    each.hidden = !met.has(each.dataset.of) || !has(`${named.get(each.dataset.of)} ${each.textContent}`);
  }
  const shown = new Set(incidents.filter((each) => !each.hidden).map(({ dataset }) => dataset.of));
  for (const [name, text] of named) {
    if (met.has(name) && has(text)) shown.add(name);
  }
  for (const route of routes) route.hidden = !shown.has(route.dataset.name);
  for (const trouble of document.querySelectorAll("#troubles > li")) trouble.hidden = !shown.has(trouble.dataset.of);
  const left = (all, what) => `${all.filter((each) => each.hidden).length} of ${all.length} ${what}`;
  const told = state.value || wanted.length ? `Hidden: ${left(routes, "routes")}, ${left(incidents, "incidents")}` : "";
  const leftOut = document.getElementById("left-out");
  if (leftOut.textContent !== told) leftOut.textContent = told; // a screen reader says what is written there
}

// What is chosen stands in the address, so that it lasts over a reload, and can be sent to somebody.
function choose() {
  const chosen = new URLSearchParams([["words", words.value.trim()], ["state", state.value]].filter(([, value]) => value));
  history.replaceState(null, "", `${location.pathname}${chosen.size ? `?${chosen}` : ""}${location.hash}`);
  filter();
}

async function refresh() {
  if (paused || asking || document.hidden) return;
  asking = true;
  const lost = document.getElementById("lost");
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("verdict")) throw new Error("not this page");
    if (!paused) {
      bringUpToDate(fresh);
      document.title = fresh.title;
    }
    heard = new Date();
    lost.hidden = true;
  } catch {
    const since = heard.toISOString().slice(11, 19);
    lost.textContent = `■ No answer from the guard since ${since} UTC. What is below is from then.`;
    lost.hidden = false;
    document.title = `■ No answer: ${document.body.dataset.whose}`;
  } finally {
    asking = false;
  }
}

const pause = document.getElementById("pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.textContent = paused ? "Resume" : "Pause";
  document.documentElement.toggleAttribute("data-paused", paused);
  refresh();
});
const chosen = new URLSearchParams(location.search);
words.value = chosen.get("words") ?? "";
state.value = [...state.options].some(({ value }) => value === chosen.get("state")) ? chosen.get("state") : "";
document.getElementById("filter").hidden = false;
document.getElementById("filter").addEventListener("input", choose);
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
filter();
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY_MS);
