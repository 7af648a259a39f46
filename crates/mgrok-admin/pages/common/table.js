// A table that the program's API fills page by page: the program searches, filters and sorts, over all pages. What is shown is in the page's
// address.

import { plural } from "./format.js";
import { calmly, every, on } from "./live.js";
import { busy, button, empty, h, show, trouble } from "./view.js";

const SIZES = [20, 50, 100, 200];
const TYPING_TIME = 300;
/** How often events may have the page read again, in milliseconds. */
const EVENT_PAUSE = 2000;

/**
 * - `context`: of the screen.
 * - `caption`: what the table has, for screen readers; `things`: the word for one row and for several.
 * - `columns`: `[{ label, cell: (row) => node, sort, kind }]`; `sort` is what the API calls the column, with a - if small
 *   values of the column are great ones there; a "number" begins with the greatest;
 *   `kind` is "number", "wide" or "actions"; `moves` is for cells that change with the time of day.
 * - `load`: `(query, signal) => { total, items }`; `rowKey`: `(row) => text`.
 * - `search`: what the search looks at, or nothing; `filters`: `[{ name, label, options: [[value, label]] }]`,
 *   without options a text.
 * - `keep`: what is asked for beside that, and stays in the address.
 * - `none`: `() => node`, when there is nothing at all; `events`, `seconds`: when to read again.
 */
export function pagedTable(options) {
  const { context, caption, things, columns, load, rowKey, search, filters = [], keep = {}, none, events = [], seconds = 10 } = options;
  const { signal } = context;
  const asked = (name) => context.query.get(name) ?? "";
  const size = Number(asked("size"));
  const state = { page: Math.max(1, Math.floor(Number(asked("page"))) || 1), size: SIZES.includes(size) ? size : 50, q: asked("q"), sort: asked("sort") };
  for (const it of filters) state[it.name] = asked(it.name);
  // Of those that the table has.
  if (!columns.some((it) => it.sort && [it.sort, opposite(it.sort)].includes(state.sort))) state.sort = "";
  let rows = [];
  let running = null;
  let total = 0;

  const said = h("p", { class: "said", role: "status" }, "Loading…");
  const body = h("tbody", { role: "rowgroup" });
  const heads = columns.map((column) => headCell(column));
  const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
  const table = h("table", { class: "rows", role: "table" }, h("caption", { class: "unseen" }, caption), head, body);
  const below = h("div", {});
  const pages = h("nav", { class: "pages", "aria-label": "Pages" });

  function headCell(column) {
    const cell = h("th", { scope: "col", role: "columnheader", class: column.kind });
    if (!column.sort) return show(cell, column.kind === "actions" ? h("span", { class: "unseen" }, column.label) : column.label);
    const press = () => {
      const first = column.kind === "number" ? opposite(column.sort) : column.sort;
      set({ sort: state.sort === first ? opposite(first) : first });
    };
    return show(cell, h("button", { type: "button", class: "sort", onclick: press }, column.label));
  }

  function draw() {
    columns.forEach((column, at) => {
      const order = !column.sort ? null : state.sort === column.sort ? "ascending" : state.sort === opposite(column.sort) ? "descending" : null;
      order ? heads[at].setAttribute("aria-sort", order) : heads[at].removeAttribute("aria-sort");
    });
    const old = new Map([...body.children].map((it) => [it.dataset.key, it]));
    const focused = document.activeElement;
    const focusedRow = body.contains(focused) ? focused.closest("tr") : null;
    const place = focusedRow ? [...focusedRow.querySelectorAll("a,button,select")].indexOf(focused) : -1;
    const next = rows.map((row) => {
      const key = rowKey(row);
      const text = JSON.stringify(row);
      const kept = old.get(key);
      if (kept && kept.text === text && !columns.some((it) => it.moves)) return kept;
      const cells = columns.map((it) => {
        const inner = [it.cell(row)].flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false && part !== "");
        return h("td", { role: "cell", class: it.kind, "data-label": it.kind === "actions" ? null : it.label }, inner.length > 0 && h("div", {}, inner));
      });
      const drawn = h("tr", { role: "row", "data-key": key }, cells);
      drawn.text = text;
      return drawn;
    });
    body.replaceChildren(...next);
    if (focusedRow) {
      const again = next.find((it) => it.dataset.key === focusedRow.dataset.key);
      again?.querySelectorAll("a,button,select")[place]?.focus({ preventScroll: true });
    }
    const isFiltered = state.q !== "" || filters.some((it) => state[it.name] !== "");
    table.hidden = rows.length === 0;
    if (rows.length > 0) show(below);
    else if (isFiltered) show(below, empty(`No ${things[1]} like that`, "Nothing matches the search.", button("Show all", clear)));
    else show(below, none());
    const last = Math.max(1, Math.ceil(total / state.size));
    show(said, total > state.size ? `${plural(total, ...things)}, page ${state.page} of ${last}` : plural(total, ...things));
    drawPages(last);
  }

  function drawPages(last) {
    pages.hidden = total <= SIZES[0];
    const before = button("Previous", () => go(state.page - 1), "", state.page <= 1 ? { disabled: true } : {});
    const after = button("Next", () => go(state.page + 1), "", state.page >= last ? { disabled: true } : {});
    const choices = SIZES.map((it) => h("option", { value: String(it), selected: it === state.size }, `${it} a page`));
    const size = h("select", { "aria-label": "Rows a page", onchange: () => set({ size: Number(size.value) }) }, choices);
    show(pages, before, h("span", {}, `${state.page} / ${last}`), after, size);
  }

  const go = (page) => set({ page }, true);

  function set(changes, keepPage = false) {
    if (!keepPage) state.page = 1;
    Object.assign(state, changes);
    const { page, size, ...others } = state;
    const set = Object.entries(others).filter(([, it]) => it !== "");
    context.setQuery({ ...keep, page: page > 1 ? page : null, size: size === 50 ? null : size, ...Object.fromEntries(set) });
    read();
  }

  function clear() {
    if (searchBox) searchBox.value = "";
    for (const it of boxes) it.value = "";
    set({ q: "", ...Object.fromEntries(filters.map((it) => [it.name, ""])) });
  }

  async function read() {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    table.setAttribute("aria-busy", "true");
    const query = { ...keep, page: state.page, pageSize: state.size, q: state.q || null, sort: state.sort || null };
    for (const it of filters) query[it.name] = state[it.name] || null;
    try {
      const answer = await load(query, AbortSignal.any([signal, mine.signal]));
      rows = answer.items;
      total = answer.total;
      const last = Math.max(1, Math.ceil(total / state.size));
      if (rows.length === 0 && state.page > last) return go(last);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      show(said, "");
      show(below, trouble(error, read));
      table.hidden = rows.length === 0;
    } finally {
      if (running === mine) table.removeAttribute("aria-busy");
    }
  }

  const searchBox = search ? textBox(search, "q", "search") : null;
  const boxes = filters.map((it) => (it.options ? choice(it) : textBox(it.label, it.name, "text")));

  let typing = 0;
  function textBox(label, name, type) {
    const typed = () => {
      clearTimeout(typing);
      typing = setTimeout(() => set({ [name]: box.value.trim() }), TYPING_TIME);
    };
    const box = h("input", { type, class: "search", placeholder: label, "aria-label": label, value: state[name], oninput: typed });
    return box;
  }
  function choice({ name, label, options }) {
    const choices = options.map(([value, words]) => h("option", { value, selected: value === state[name] }, words));
    const select = h("select", { "aria-label": label, onchange: () => set({ [name]: select.value }) }, choices);
    return select;
  }
  const ask = calmly(read, EVENT_PAUSE, signal);
  on(["reset", ...events], ask, signal);
  every(seconds, ask, signal);
  signal.addEventListener("abort", () => clearTimeout(typing));
  const again = button("Refresh", () => busy(again, read), "quiet");
  const tools = h("div", { class: "tools" }, searchBox, boxes, said, again);
  read();
  return { element: h("div", { class: "listing" }, tools, h("div", { class: "scroll" }, table), below, pages), read, set };
}

/** The other way round. */
const opposite = (sort) => (sort.startsWith("-") ? sort.slice(1) : `-${sort}`);
