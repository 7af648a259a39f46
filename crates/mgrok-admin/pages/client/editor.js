// The screen that adds or changes a proxy or a visitor of the store. The client's own checker says what is wrong.

import { get, part, request } from "../common/api.js";
import { back, heading } from "../common/shell.js";
import { busy, button, dialog, fail, h, notice, show } from "../common/view.js";
import { KINDS } from "./entries.js";
import { TYPES } from "./fields.js";
import { entryForm } from "./form.js";

const CHECK_PAUSE = 500;

/** The screen for a `kind` of entry: with a name in the address, the one that is there. */
export const editScreen = (kind) => async (context) => {
  const { store, screen, title } = KINDS[kind];
  const { name: old } = context.params;
  if (!(await get("api/v2/state", {}, context.signal)).store) {
    notice("There is no store to keep it in yet.");
    location.hash = "#/store";
  }
  let etag = null;
  let type = TYPES[kind][0];
  let block = {};
  if (old !== undefined) {
    const found = await request("GET", `${store}/${part(old)}`, { signal: context.signal });
    etag = found.etag;
    type = found.data.type;
    block = structuredClone(found.data[type] ?? {});
  } else if (kind === "proxy") block = { localIP: "127.0.0.1" };

  let isDirty = false;
  const touched = new Set();
  const others = h("div", { role: "alert" });
  const name = h("input", { id: "entry-name", value: old ?? "", maxlength: "50", autocomplete: "off", spellcheck: "false", disabled: old !== undefined, "aria-describedby": "entry-name-error" });
  const nameError = h("p", { class: "field-error", id: "entry-name-error" });
  const types = h("select", { id: "entry-type", disabled: old !== undefined }, TYPES[kind].map((it) => h("option", { value: it, selected: it === type }, it)));
  const enabled = h("input", { type: "checkbox", id: "entry-enabled", checked: block.enabled !== false });
  const place = h("div", {});
  let form;
  const build = () => {
    if (type === "tcpmux") block.multiplexer ??= "httpconnect";
    form = entryForm(kind, type, block, (path) => changed(path));
    show(place, form.element);
  };
  build();

  let timer = 0;
  function changed(path) {
    isDirty = true;
    touched.add(path);
    clearTimeout(timer);
    timer = setTimeout(() => check((it) => touched.has(it)), CHECK_PAUSE);
  }
  context.signal.addEventListener("abort", () => clearTimeout(timer));
  name.addEventListener("input", () => changed("name"));
  types.addEventListener("change", () => {
    type = types.value;
    // What another type does not know would be refused.
    block = Object.fromEntries(Object.entries(block).filter(([it]) => ["localIP", "localPort", "transport", "annotations", "metadatas", "plugin", "enabled"].includes(it)));
    build();
    changed("type");
  });
  enabled.addEventListener("change", () => {
    if (enabled.checked) delete block.enabled;
    else block.enabled = false;
    changed("enabled");
  });

  const send = (query) =>
    request(old === undefined ? "POST" : "PUT", old === undefined ? store : `${store}/${part(old)}`, {
      query,
      json: { name: name.value.trim(), type, [type]: block },
      etag,
      signal: context.signal,
    });

  function tell(error, isShown) {
    const messages = mistakes(error?.message ?? "");
    const mine = messages.filter((it) => it.path === "name");
    show(nameError, isShown("name") ? mine.map((it) => it.text).join(" ") : "");
    const rest = form.tell(messages.filter((it) => it.path !== "name"), isShown);
    return rest;
  }

  async function check(isShown) {
    if (name.value.trim() === "") return;
    try {
      await send({ check: true });
      tell(null, isShown);
      show(others);
    } catch (error) {
      if (error.status === 400 || error.status === 409) tell(error, isShown);
      else if (error.status !== 412) fail(error);
    }
  }

  const save = button(old === undefined ? "Create" : "Update", () => busy(save, submit), "primary");
  async function submit() {
    show(others);
    if (name.value.trim() === "") {
      show(nameError, "A name is needed.");
      name.focus();
      return;
    }
    try {
      await send({});
    } catch (error) {
      if (error.status === 412) return changedElsewhere();
      if (error.status !== 400 && error.status !== 409) throw error;
      const rest = tell(error, () => true);
      show(others, rest.length > 0 && h("div", { class: "banner bad" }, rest.map((it) => h("p", {}, it))));
      if (rest.length > 0) others.scrollIntoView({ block: "nearest" });
      else form.focusError();
      return;
    }
    isDirty = false;
    notice(`${name.value.trim()} was saved.`);
    location.hash = screen;
  }

  async function changedElsewhere() {
    const text = h("p", {}, "Somebody else has changed this entry since it was opened here. Load it again, which loses what you have entered, or save over it.");
    const answer = await dialog("Changed in the meantime", text, [
      { label: "Cancel", value: null },
      { label: "Load it again", value: "load" },
      { label: "Save over it", value: "save", kind: "danger" },
    ]);
    if (answer === "save") {
      etag = null;
      await submit();
    } else if (answer === "load") {
      isDirty = false;
      context.again();
    }
  }

  const label = old === undefined ? `New ${kind}` : `Edit ${old}`;
  const basics = h(
    "fieldset",
    { class: "panel" },
    h("legend", {}, title),
    h(
      "div",
      { class: "fields" },
      h("div", { class: "field" }, h("label", { for: "entry-name" }, "Name"), name, nameError),
      h("div", { class: "field" }, h("label", { for: "entry-type" }, "Type"), types, old !== undefined && h("p", { class: "hint" }, "Name and type stay as they are.")),
      h("div", { class: "field switch" }, enabled, h("label", { for: "entry-enabled" }, "Enabled")),
    ),
  );
  const row = h("div", { class: "buttons sticky" }, h("a", { class: "button", href: screen }, "Cancel"), save);
  const element = h("form", { class: "entry", novalidate: true, onsubmit: (event) => (event.preventDefault(), busy(save, submit)) }, others, basics, place, row);
  return { title: label, content: [back(screen, `${title === "Proxy" ? "Proxies" : "Visitors"}`), heading(label), element], keeps: () => isDirty };
};

/** The mistakes in a refusal of the checker, one a line, with the keys that they are about: `[{ path, text, line }]`. */
export function mistakes(refusal) {
  const lines = refusal.replace(/^invalid argument: (validation error: )?/, "").split("\n");
  return lines.filter(Boolean).map((line) => {
    const [, path = "", text = line] = /^([A-Za-z][\w.[\]-]*): (.*)$/.exec(line) ?? [];
    if (/already exists:|name (is required|cannot be empty)/.test(line)) return { path: "name", text, line };
    return { path, text, line };
  });
}
