// What surrounds every screen: the header, the menu, the colours, and which screen an address means.

import { on, start } from "./live.js";
import { confirm, h, icon, show, trouble } from "./view.js";

/**
 * Begins. `routes`: `[["/proxy/:name", async (context) => ({ title, content, keeps })]]`; `keeps()` says whether leaving loses something.
 * `menu`: `[{ to, label, icon }]`.
 */
export function begin({ title, end, menu, routes }) {
  const main = h("main", { id: "main", tabindex: "-1" });
  const links = menu.map((it) => ({ ...it, link: h("a", { href: `#${it.to}` }, icon(it.icon), it.label) }));
  const nav = h("nav", { id: "menu", "aria-label": "Screens" }, h("ul", {}, links.map((it) => h("li", {}, it.link))));
  const toggle = h("button", { type: "button", class: "button quiet menu-button", "aria-expanded": "false", "aria-controls": "menu", "aria-label": "Menu" }, icon("menu"));
  const openMenu = (open) => {
    toggle.setAttribute("aria-expanded", String(open));
    nav.classList.toggle("open", open);
  };
  toggle.addEventListener("click", () => openMenu(toggle.getAttribute("aria-expanded") !== "true"));
  document.addEventListener("keydown", (event) => event.key === "Escape" && openMenu(false));
  const header = h(
    "header",
    {},
    toggle,
    h("a", { class: "brand", href: "#/" }, h("img", { src: "common/icon.svg", alt: "", width: "28", height: "28" }), "mgrok", h("span", { class: "end" }, end)),
    connection(),
    themeSwitch(),
  );
  const skip = h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, "To the content");
  document.body.replaceChildren(
    skip,
    header,
    h("div", { class: "frame" }, nav, main),
    h("div", { id: "notices", class: "toasts", role: "status" }),
    h("div", { id: "alerts", class: "toasts", role: "alert" }),
  );
  document.addEventListener("keydown", (event) => focusSearch(event, main));

  let current = null;
  let keeps = null;
  let shown = null;
  async function open() {
    const [path, query = ""] = (location.hash.slice(1) || "/").split("?");
    if (keeps?.() && location.hash !== shown) {
      const wanted = location.hash;
      history.replaceState(null, "", shown);
      if (!(await confirm("Leave without saving?", "What you have entered here is lost then.", "Leave"))) return;
      keeps = null;
      history.replaceState(null, "", wanted);
      return open();
    }
    current?.abort();
    keeps = null;
    shown = location.hash;
    const mine = new AbortController();
    current = mine;
    openMenu(false);
    for (const it of links) {
      const is = it.to === "/" ? path === "/" : (it.also ?? [it.to]).some((to) => path === to || path.startsWith(`${to}/`));
      is ? it.link.setAttribute("aria-current", "page") : it.link.removeAttribute("aria-current");
    }
    const found = find(routes, path);
    const context = {
      ...found,
      query: new URLSearchParams(query),
      signal: mine.signal,
      again: open,
      setQuery(values) {
        const search = new URLSearchParams(Object.entries(values).filter(([, it]) => it !== null));
        if (mine.signal.aborted) return;
        history.replaceState(null, "", `#${path}${search.size ? `?${search}` : ""}`);
        shown = location.hash;
      },
    };
    main.setAttribute("aria-busy", "true");
    try {
      const screen = await found.screen(context);
      if (mine.signal.aborted) return;
      document.title = `${screen.title} – ${title}`;
      keeps = screen.keeps ?? null;
      show(main, screen.content);
    } catch (error) {
      if (error.name === "AbortError" || mine.signal.aborted) return;
      show(main, h("h1", {}, "This cannot be shown"), trouble(error, open));
    } finally {
      if (!mine.signal.aborted) main.removeAttribute("aria-busy");
    }
    window.scrollTo(0, 0);
    if (document.activeElement === document.body) main.focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", open);
  window.addEventListener("beforeunload", (event) => keeps?.() && event.preventDefault());
  start();
  open();
}

function find(routes, path) {
  for (const [pattern, screen] of routes) {
    const wanted = pattern.split("/");
    const parts = path.split("/");
    const least = wanted.filter((it) => !it.endsWith("?")).length;
    if (parts.length < least || parts.length > wanted.length) continue;
    const params = {};
    const fits = parts.every((it, at) => {
      if (!wanted[at].startsWith(":")) return wanted[at] === it;
      try {
        params[wanted[at].slice(1).replace("?", "")] = decodeURIComponent(it);
      } catch {
        return false;
      }
      return true;
    });
    if (fits) return { screen, params, path };
  }
  const nothing = async () => ({ title: "Not found", content: [h("h1", {}, "There is no such screen"), h("p", {}, h("a", { href: "#/" }, "To the overview"))] });
  return { screen: nothing, params: {}, path };
}

/** Whether the page hears from the program. */
function connection() {
  const words = { connecting: "connecting…", open: "live", closed: "no connection" };
  const element = h("p", { class: "link-state", role: "status" }, words.connecting);
  const never = new AbortController();
  on("state", (state) => {
    element.dataset.state = state;
    if (element.textContent !== words[state] && !(state === "connecting" && element.textContent === words.closed)) show(element, words[state]);
  }, never.signal);
  return element;
}

function themeSwitch() {
  const names = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(names);
  const root = document.documentElement;
  const now = () => root.dataset.theme ?? "";
  const element = h("button", { type: "button", class: "button quiet", onclick: turn }, icon("theme"));
  const label = () => {
    element.setAttribute("aria-label", `Colours: ${names[now()]}`);
    element.title = `Colours: ${names[now()]}`;
  };
  function turn() {
    const next = order[(order.indexOf(now()) + 1) % order.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("mgrok-theme", next);
    } catch {
      // Then it lasts as long as the page.
    }
    label();
  }
  label();
  return element;
}

/** `/` leads to the search, as in many pages. */
function focusSearch(event, main) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const search = main.querySelector("input[type=search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
}

/** The heading of a screen, with what can be done there. */
export function heading(title, ...actions) {
  return h("div", { class: "heading" }, h("h1", {}, title), actions.length ? h("div", { class: "actions" }, actions) : null);
}

/** The way back. */
export const back = (to, label) => h("p", { class: "back" }, h("a", { href: to }, `← ${label}`));
