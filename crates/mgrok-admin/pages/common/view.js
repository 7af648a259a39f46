// Elements, dialogs and notices. Text only ever becomes text: nothing in these pages is parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("a", { href: "#/", class: "x", onclick: f }, "text", child)`. `null` and `false` are left out. */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((it) => it !== null && it !== undefined && it !== false && it !== "")
    .map((it) => (it instanceof Node ? it : document.createTextNode(String(it))));
}

/** Puts `children` in the place of what `element` has. */
export function show(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** A drawing of 24 by 24 that says nothing to screen readers. */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, path);
}

const ICONS = {
  overview: "M4 13h6V4H4zm0 7h6v-4H4zm10 0h6v-9h-6zm0-16v4h6V4z",
  clients: "M4 5h16v10H4zM2 19h20M9 15v4m6-4v4",
  proxies: "M4 7h13m-4-4 4 4-4 4M20 17H7m4-4-4 4 4 4",
  connections: "M9 15l6-6M8 12l-3 3a3.5 3.5 0 0 0 5 5l3-3m-2-10 3-3a3.5 3.5 0 0 1 5 5l-3 3",
  users: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm-8 8c1-4 4-5 8-5s7 1 8 5",
  bans: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM6 6l12 12",
  log: "M5 6h14M5 10h14M5 14h9M5 18h6",
  visitors: "M14 4h5v16h-5M4 12h10m-4-4 4 4-4 4",
  store: "M4 6c0-3 16-3 16 0v12c0 3-16 3-16 0zm0 0c0 3 16 3 16 0M4 12c0 3 16 3 16 0",
  config: "M4 7h9m4 0h3M4 17h3m4 0h9M15 4v6M9 14v6",
  requests: "M4 5h16v14H4zm0 4h16M8 13l2 2-2 2m5 0h4",
  menu: "M4 6h16M4 12h16M4 18h16",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
};

/** A button. `kind`: "primary", "danger", "quiet" or nothing. */
export function button(label, onclick, kind = "", attributes = {}) {
  return h("button", { type: "button", class: `button ${kind}`, onclick, ...attributes }, label);
}

/** Runs `work` with `element` switched off meanwhile, and tells what goes wrong. */
export async function busy(element, work) {
  element.disabled = true;
  element.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    fail(error);
    return undefined;
  } finally {
    element.disabled = false;
    element.removeAttribute("aria-busy");
  }
}

/** A small label with a colour: "good", "bad", "warn" or "plain". */
export function badge(text, tone = "plain") {
  return h("span", { class: `badge ${tone}` }, text);
}

/** What is there when there is nothing. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), text && h("p", {}, text), actions);
}

/** What is there when something went wrong. */
export function trouble(error, again) {
  const text = h("p", {}, error.message);
  return h("div", { class: "trouble", role: "alert" }, text, again && button("Try again", again));
}

/** Names with their values. Those without a value are left out. */
export function facts(...pairs) {
  const there = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: "facts" }, there.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A part of a screen with a heading. */
export function panel(title, ...children) {
  return h("section", { class: "panel" }, title && h("h2", {}, title), children);
}

/** A dialog; what it answers is the value of the button that was pressed, `null` if it was left. */
export function dialog(title, body, buttons) {
  return new Promise((resolve) => {
    let answer = null;
    const id = `dialog-${document.querySelectorAll("dialog").length}`;
    const heading = h("h2", { id }, title);
    const row = h("div", { class: "buttons" });
    const element = h("dialog", { "aria-labelledby": id }, heading, h("div", {}, body), row);
    for (const { label, value, kind, check } of buttons) {
      const press = async () => {
        if (check && !(await check())) return;
        answer = value;
        element.close();
      };
      row.append(button(label, press, kind, kind === "danger" || value === null ? {} : { autofocus: true }));
    }
    element.addEventListener("close", () => {
      element.remove();
      resolve(answer);
    });
    document.body.append(element);
    element.showModal();
  });
}

/** Asks before something that cannot be taken back. */
export async function confirm(title, text, action, kind = "danger") {
  const buttons = [
    { label: "Cancel", value: null },
    { label: action, value: true, kind },
  ];
  return (await dialog(title, h("p", {}, text), buttons)) === true;
}

const MAX_NOTICES = 4;
const NOTICE_TIME = 6000;

/** Says for some seconds that something was done. */
export function notice(text) {
  const item = notify(text, "notices");
  setTimeout(() => item.remove(), NOTICE_TIME);
}

/** Says what went wrong, until it is closed. What was given up on purpose is no error. */
export function fail(error) {
  if (error?.name !== "AbortError") notify(error?.message ?? String(error), "alerts");
}

function notify(text, place) {
  const list = document.getElementById(place);
  const item = h("div", { class: "notice" }, h("p", {}, text));
  item.append(button("×", () => item.remove(), "quiet", { "aria-label": "Close this notice" }));
  list.append(item);
  while (list.children.length > MAX_NOTICES) list.firstChild.remove();
  return item;
}

/** Puts `text` on the clipboard, which browsers allow over HTTPS and on localhost only; else shows it to be copied by hand. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    const area = h("textarea", { class: "code", rows: "8", readonly: true, "aria-label": "Text to copy", value: text });
    await dialog("Copy this", area, [{ label: "Close", value: null }]);
  }
}
