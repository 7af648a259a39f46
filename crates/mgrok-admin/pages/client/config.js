// The client's configuration file as text: checked by the client itself, saved only over the version that was read.

import { request } from "../common/api.js";
import { heading } from "../common/shell.js";
import { busy, button, confirm, dialog, empty, h, notice, show } from "../common/view.js";
import { reload } from "./overview.js";

const CHECK_PAUSE = 800;

export async function configScreen(context) {
  let etag;
  let saved;
  try {
    ({ etag, text: saved } = await request("GET", "api/config", { signal: context.signal }));
  } catch (error) {
    if (error.status !== 400 && error.status !== 404) throw error;
    return { title: "Configuration", content: [heading("Configuration"), empty("There is no configuration file", "This client was started without one, by flags.")] };
  }
  const numbers = h("pre", { class: "numbers", "aria-hidden": "true" });
  const area = h("textarea", { id: "config", spellcheck: "false", autocapitalize: "off", autocomplete: "off", wrap: "off", "aria-describedby": "config-said", value: saved });
  const said = h("p", { class: "said", id: "config-said", role: "status" });
  const list = h("ul", { class: "mistakes" });
  let marks = new Map();
  let timer = 0;

  function drawNumbers() {
    const count = area.value.split("\n").length;
    const line = (at) => h("span", { class: marks.get(at) ?? "" }, `${at}\n`);
    show(numbers, Array.from({ length: count }, (_, at) => line(at + 1)));
    numbers.scrollTop = area.scrollTop;
  }
  area.addEventListener("scroll", () => (numbers.scrollTop = area.scrollTop));
  area.addEventListener("input", () => {
    drawNumbers();
    show(said, area.value === saved ? "Unchanged." : "Changed, not saved.");
    clearTimeout(timer);
    timer = setTimeout(() => check().catch(() => {}), CHECK_PAUSE);
  });
  context.signal.addEventListener("abort", () => clearTimeout(timer));

  function goTo(line, column) {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, it) => sum + it.length + 1, 0) + Math.max(0, (column ?? 1) - 1);
    area.focus();
    area.setSelectionRange(start, start);
    area.scrollTop = Math.max(0, (line - 5) * Number.parseFloat(getComputedStyle(area).lineHeight));
  }

  /** Has the client check the text; whether it would load. */
  async function check() {
    const text = area.value;
    const { data } = await request("POST", "api/v2/config/check", { text, signal: context.signal });
    if (text !== area.value) return false;
    const all = [...data.errors.map((it) => ({ ...it, kind: "bad" })), ...data.warnings.map((it) => ({ message: it, kind: "warn" }))];
    marks = new Map(data.errors.map((it) => [it.line, "bad"]));
    drawNumbers();
    const item = (it) => {
      const place = it.line ? button(`line ${it.line}`, () => goTo(it.line, it.column), "small") : null;
      return h("li", { class: it.kind }, place, " ", it.key && h("code", {}, it.key), it.key && ": ", it.message);
    };
    show(list, all.map(item));
    const words = data.errors.length ? `${data.errors.length} ${data.errors.length === 1 ? "mistake" : "mistakes"}` : "No mistakes";
    show(said, `${words}. ${area.value === saved ? "Unchanged." : "Not saved yet."}`);
    return data.errors.length === 0;
  }

  async function write() {
    if (!(await check())) {
      list.querySelector("button")?.focus();
      return false;
    }
    try {
      const answer = await request("PUT", "api/config", { text: area.value, etag });
      etag = answer.etag ?? (await request("GET", "api/config")).etag;
    } catch (error) {
      if (error.status !== 412) throw error;
      return changedElsewhere();
    }
    saved = area.value;
    show(said, "Saved.");
    return true;
  }

  async function changedElsewhere() {
    const text = h("p", {}, "The file has changed since it was read here. Read it again, which loses what you have entered, or write over it.");
    const answer = await dialog("Changed in the meantime", text, [
      { label: "Cancel", value: null },
      { label: "Read it again", value: "read" },
      { label: "Write over it", value: "write", kind: "danger" },
    ]);
    if (answer === null) return false;
    const now = await request("GET", "api/config");
    etag = now.etag;
    if (answer === "write") return write();
    area.value = saved = now.text;
    drawNumbers();
    show(said, "Read again.");
    return false;
  }

  const checkButton = button("Check", () => busy(checkButton, check));
  const save = button("Save", () => busy(save, async () => (await write()) && notice("The file was saved. A reload puts it to use.")));
  const update = button("Update & Reload", () =>
    busy(update, async () => {
      const text = "The file is replaced by this text, and the client applies it. Proxies that changed are started anew.";
      if (!(await confirm("Save and reload?", text, "Update & Reload", "primary"))) return;
      if (await write()) await reload();
    }), "primary");
  drawNumbers();
  show(said, "Unchanged.");
  const label = h("label", { for: "config", class: "unseen" }, "Text of the configuration file");
  return {
    title: "Configuration",
    content: [heading("Configuration", checkButton, save, update), said, h("div", { class: "editor" }, numbers, label, area), list],
    keeps: () => area.value !== saved,
  };
}
