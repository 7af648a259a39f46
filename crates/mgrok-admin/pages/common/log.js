// The latest lines of the program's log, as they are written, and the level of that log.

import { address, get, request } from "./api.js";
import { clock, plural } from "./format.js";
import { calmly } from "./live.js";
import { heading } from "./shell.js";
import { busy, button, fail, h, notice, show } from "./view.js";

const LEVELS = ["trace", "debug", "info", "warn", "error"];
/** How many lines the page keeps. */
const KEPT = 1000;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;

export async function logScreen(context) {
  const { signal } = context;
  const { level } = await get("api/v2/log/level", {}, signal);
  let lines = [];
  let isPaused = false;
  const list = h("ol", { class: "log", tabindex: "0", "aria-label": "Log lines" });
  const said = h("p", { class: "said", role: "status" }, "Connecting…");
  const search = h("input", { type: "search", class: "search", placeholder: "Search the lines", "aria-label": "Search the lines", oninput: () => ask() });
  const least = choice("Lines from this level on", "trace", (it) => `from ${it} on`);
  least.addEventListener("change", () => ask());

  function draw() {
    const words = search.value.trim().toLowerCase();
    const from = LEVELS.indexOf(least.value);
    const shown = lines.filter((it) => rank(it.level) >= from && (!words || it.message.toLowerCase().includes(words)));
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.replaceChildren(...shown.map((it) => (it.element ??= drawn(it))));
    if (isAtEnd) list.scrollTop = list.scrollHeight;
    show(said, isPaused ? "Paused" : plural(shown.length, "line"));
  }
  const ask = calmly(draw, 250, signal);

  follow(signal, {
    open: () => {
      // The stream begins with the latest lines again.
      lines = [];
      ask();
    },
    line: (line) => {
      if (isPaused) return;
      lines.push(line);
      if (lines.length > KEPT) lines.shift();
      ask();
    },
    closed: () => show(said, "No connection to the log; trying again…"),
  });

  const pause = button("Pause", () => {
    isPaused = !isPaused;
    show(pause, isPaused ? "Go on" : "Pause");
    pause.setAttribute("aria-pressed", String(isPaused));
    draw();
  });
  const clear = button("Clear", () => {
    lines = [];
    draw();
  });
  const levelChoice = choice("Level of the log", level, (it) => it);
  levelChoice.addEventListener("change", () =>
    busy(levelChoice, async () => {
      await request("PUT", "api/v2/log/level", { json: { level: levelChoice.value } });
      notice(`The program logs from ${levelChoice.value} on, until its next reload or start.`);
    }),
  );
  const setting = h("label", { class: "inline" }, "The program logs from ", levelChoice, " on");
  return {
    title: "Log",
    content: [heading("Log", setting), h("div", { class: "listing" }, h("div", { class: "tools" }, search, least, said, pause, clear), list)],
  };
}

const rank = (level) => LEVELS.indexOf(String(level).toLowerCase());

function choice(label, value, words) {
  return h("select", { "aria-label": label }, LEVELS.map((it) => h("option", { value: it, selected: it === value }, words(it))));
}

function drawn({ time, level, message }) {
  const name = String(level).toLowerCase();
  // Seconds or milliseconds, or a text.
  const at = typeof time === "number" ? clock(time < 1e11 ? time * 1000 : time) : String(time ?? "").replace("T", " ").slice(0, 23);
  return h("li", {}, h("time", {}, at), h("span", { class: `level ${name}` }, name), h("span", { class: "message" }, message));
}

/** Keeps a stream of the log open while the page is seen. */
function follow(signal, { open, line, closed }) {
  let source = null;
  let timer = 0;
  let wait = FIRST_WAIT;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
  };
  const connect = () => {
    close();
    source = new EventSource(address("api/v2/log"));
    source.addEventListener("open", () => {
      wait = FIRST_WAIT;
      open();
    });
    source.addEventListener("line", (event) => {
      try {
        line(JSON.parse(event.data));
      } catch (error) {
        fail(error);
      }
    });
    source.addEventListener("error", () => {
      close();
      closed();
      timer = setTimeout(() => !document.hidden && connect(), wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : source || connect()), { signal });
  signal.addEventListener("abort", close);
  connect();
}
