// What happens, as it happens: the program's event stream, shared by all screens. A page that nobody sees gives its stream back.

import { address } from "./api.js";

const NAMES = ["reset", "traffic", "client", "proxy", "session", "connection", "request"];
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;
/** How long a page may be hidden before its stream is closed, in milliseconds. */
const HIDDEN_TIME = 5000;
/** How many seconds of traffic are kept. */
export const KEPT = 300;

const events = new EventTarget();
/** The latest seconds: `{ at, received, sent, connections, in, out }`; `in` and `out` are bytes in a second. */
export const samples = [];

let source = null;
let wait = FIRST_WAIT;
let retry = 0;
let hiding = 0;

/** Calls `handler(data, name)` for events of these names until `signal` is aborted. */
export function on(names, handler, signal) {
  for (const name of [names].flat()) events.addEventListener(name, (event) => handler(event.detail, name), { signal });
}

function emit(name, detail) {
  events.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Opens the stream and keeps it open while the page is seen. */
export function start() {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(close, HIDDEN_TIME);
    else if (!source) open();
  });
  if (!document.hidden) open();
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function open() {
  close();
  emit("state", "connecting");
  source = new EventSource(address("api/v2/events"));
  source.addEventListener("open", () => {
    wait = FIRST_WAIT;
    emit("state", "open");
  });
  source.addEventListener("error", () => {
    close();
    emit("state", "closed");
    // Not all pages at once when the program is there again.
    retry = setTimeout(() => !document.hidden && open(), wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  });
  for (const name of NAMES) {
    source.addEventListener(name, (event) => {
      let data;
      try {
        data = JSON.parse(event.data);
      } catch {
        return;
      }
      if (name === "traffic") sample(data);
      emit(name, data);
    });
  }
}

function sample(data) {
  const at = performance.now() / 1000;
  const last = samples.at(-1);
  const next = { ...data, at, in: null, out: null };
  // After a pause, or a start of the program, there is nothing to compare with.
  if (last && at - last.at < 5 && data.received >= last.received && data.sent >= last.sent && at > last.at) {
    next.in = (data.received - last.received) / (at - last.at);
    next.out = (data.sent - last.sent) / (at - last.at);
  }
  samples.push(next);
  while (samples.length > KEPT) samples.shift();
}

/** Calls `work` at most once in `pause` milliseconds, however often it is asked to, and only while the page is seen. */
export function calmly(work, pause, signal) {
  let timer = 0;
  let last = -Infinity;
  let wanted = false;
  const run = () => {
    timer = 0;
    if (document.hidden || signal.aborted) return;
    wanted = false;
    last = performance.now();
    work();
  };
  document.addEventListener("visibilitychange", () => !document.hidden && wanted && ask(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  function ask() {
    wanted = true;
    timer ||= setTimeout(run, Math.max(0, last + pause - performance.now()));
  }
  return ask;
}

/** Calls `ask` every `seconds` until `signal` is aborted. */
export function every(seconds, ask, signal) {
  const timer = setInterval(ask, seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
