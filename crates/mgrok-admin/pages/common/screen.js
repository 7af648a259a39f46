// What screens have in common that show one thing and read it again as it changes.

import { calmly, every, on } from "./live.js";
import { fail, h } from "./view.js";

/** The least time from one reading to the next, in milliseconds. */
const PAUSE = 1000;

/**
 * Draws what `read()` gives, which is awaited the first time, and draws it anew when it may have changed. Returns what reads it again at once.
 *
 * - `draw`: takes what was read, and what reads it again; `gone`: is called instead when the program knows nothing of it any more.
 * - `events`: names of events after each of which it is read again; `ours`: `{ name: (data) => boolean }`, the same for some of a name.
 * - `seconds`: how often it is read without an event.
 */
export async function keepDrawn({ signal, read, draw, gone, events = [], ours = {}, seconds }) {
  draw(await read(), refresh);
  async function refresh() {
    try {
      draw(await read(), refresh);
    } catch (error) {
      if (error.status === 404 && gone) gone();
      // The header says when the program is away.
      else if (error.status !== 0) fail(error);
    }
  }
  const ask = calmly(refresh, PAUSE, signal);
  on(["reset", ...events], ask, signal);
  for (const [name, isOurs] of Object.entries(ours)) on(name, (it) => isOurs(it) && ask(), signal);
  every(seconds, ask, signal);
  return refresh;
}

/** A number with its name, which leads to the screen `to` if there is one. Its `value` and `note` are for whoever made it to fill. */
export function card(label, to) {
  const value = h("span", { class: "figure" }, "–");
  const note = h("span", { class: "note" });
  const inner = [h("span", { class: "label" }, label), value, note];
  return { value, note, element: to ? h("a", { class: "card", href: to }, inner) : h("div", { class: "card" }, inner) };
}

/** The cards of an overview, side by side. */
export const cardRow = (cards) => h("div", { class: "cards" }, Object.values(cards).map((it) => it.element));
