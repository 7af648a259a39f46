// A form for an entry of the store, made from the fields that its type has.

import { badge, h, show } from "../common/view.js";
import { SECTIONS } from "./fields.js";

/**
 * The form for `block`, the keys of a `kind` of type `type`. Keys that the form does not know stay as they are.
 * `changed(path)` is called after each change.
 */
export function entryForm(kind, type, block, changed) {
  const inputs = new Map();
  const element = h("div", { class: "sections" });

  function draw() {
    inputs.clear();
    const plugin = read(block, "plugin.type") ?? "";
    const sections = SECTIONS[kind]
      .filter((it) => !it.of || it.of.includes(type))
      .map((section) => ({ ...section, fields: section.fields.filter((it) => applies(it, type, plugin)) }))
      .filter((it) => it.fields.length > 0);
    show(element, sections.map(sectionElement));
  }

  function sectionElement({ title, folded, fields }) {
    const grid = h("div", { class: "fields" }, fields.map(fieldElement));
    if (!folded) return h("fieldset", { class: "panel" }, h("legend", {}, title), grid);
    const isUsed = fields.some((it) => ![undefined, null, "", 0, false].includes(read(block, it.path)));
    return h("details", { class: "panel", open: isUsed }, h("summary", {}, title, " ", isUsed && badge("in use")), grid);
  }

  function fieldElement(field) {
    const id = `field-${field.path.replaceAll(".", "-")}`;
    const error = h("p", { class: "field-error", id: `${id}-error` });
    const hint = field.hint && h("p", { class: "hint", id: `${id}-hint` }, field.hint);
    const describedBy = `${hint ? `${id}-hint ` : ""}${id}-error`;
    const attributes = { id, name: field.path, "aria-describedby": describedBy, autocomplete: "off" };
    const { input, value } = control(field, read(block, field.path), attributes);
    const store = () => {
      write(block, field.path, value());
      if (field.path === "plugin.type") {
        if (!input.value) block.plugin = null;
        draw();
        document.getElementById(id)?.focus();
      }
      changed(field.path);
    };
    input.addEventListener(input.tagName === "SELECT" || input.type === "checkbox" ? "change" : "input", store);
    inputs.set(field.path, { input, error });
    const label = h("label", { for: id }, field.label, field.required && h("span", { class: "quiet-text" }, " (required)"));
    const isSwitch = input.type === "checkbox";
    const isLong = input.tagName === "TEXTAREA";
    return h("div", { class: `field ${isSwitch ? "switch" : ""} ${isLong ? "long" : ""}` }, isSwitch ? [input, label] : [label, input], hint, error);
  }

  /** Puts messages beside their fields, and returns those that belong to none. `messages`: `[{ path, text, line }]`. */
  function tell(messages, isShown = () => true) {
    for (const { input, error } of inputs.values()) {
      show(error);
      input.removeAttribute("aria-invalid");
    }
    const others = [];
    for (const { path, text, line } of messages) {
      const found = inputs.get(path) ?? inputs.get(parent(path, inputs));
      if (!found) others.push(line);
      else if (isShown(path)) {
        show(found.error, found.error.textContent && `${found.error.textContent} `, text);
        found.input.setAttribute("aria-invalid", "true");
        const details = found.input.closest("details");
        if (details) details.open = true;
      }
    }
    return others;
  }

  draw();
  return { element, tell, focusError: () => element.querySelector("[aria-invalid]")?.focus() };
}

function applies(field, type, plugin) {
  if (field.of && !field.of.includes(type)) return false;
  if (field.direct) return plugin === "";
  return !field.plugins || field.plugins.includes(plugin);
}

/** The longest of the fields' paths that `path` is below of. */
function parent(path, inputs) {
  return [...inputs.keys()].filter((it) => path.startsWith(it) && /^[.[]/.test(path.slice(it.length))).sort((a, b) => b.length - a.length)[0];
}

/** The element for a value, and a function that reads the value from it; `undefined` is none. */
function control(field, now, attributes) {
  const text = (value) => (value === undefined || value === null || value === 0 ? "" : String(value));
  const box = (type, more = {}) => h("input", { type, value: text(now), placeholder: field.placeholder, ...more, ...attributes });
  switch (field.kind) {
    case "number": {
      const input = box("number", { step: "1", inputmode: "numeric" });
      return { input, value: () => (input.value === "" ? undefined : Number(input.value)) };
    }
    case "secret": {
      const input = box("password", { autocomplete: "new-password" });
      return { input, value: () => input.value || undefined };
    }
    case "switch": {
      const input = h("input", { type: "checkbox", checked: now === true, ...attributes });
      return { input, value: () => input.checked || undefined };
    }
    case "default-on": {
      const input = h("input", { type: "checkbox", checked: now !== false, ...attributes });
      return { input, value: () => (input.checked ? undefined : false) };
    }
    case "choice": {
      const options = field.options.includes(text(now)) || field.required ? field.options : [...field.options, text(now)];
      const input = h("select", attributes, options.map((it) => h("option", { value: it, selected: it === text(now) }, field.words?.[it] ?? it)));
      return { input, value: () => input.value || undefined };
    }
    case "list": {
      const input = h("textarea", { rows: "3", value: (now ?? []).join("\n"), ...attributes });
      const lines = () => input.value.split(/[\n,]/).map((it) => it.trim()).filter(Boolean);
      return { input, value: () => (lines().length ? lines() : undefined) };
    }
    case "map": {
      const input = h("textarea", { rows: "3", value: Object.entries(now ?? {}).map(([name, it]) => `${name}: ${it}`).join("\n"), ...attributes });
      return { input, value: () => pairs(input.value) };
    }
    default: {
      const input = box("text", { spellcheck: "false", autocapitalize: "off" });
      return { input, value: () => input.value.trim() || undefined };
    }
  }
}

function pairs(text) {
  const lines = text.split("\n").filter((it) => it.trim());
  const entries = lines.map((line) => {
    const at = line.indexOf(":");
    return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
  return entries.length ? Object.fromEntries(entries) : undefined;
}

function read(block, path) {
  return path.split(".").reduce((it, name) => it?.[name], block);
}

function write(block, path, value) {
  const names = path.split(".");
  const last = names.pop();
  let at = block;
  for (const name of names) at = at[name] ??= {};
  if (value === undefined) delete at[last];
  else at[last] = value;
}
