// Sources that are kept out for a while, with a button that lets one in again.

import { get, part, remove } from "../common/api.js";
import { age, number, span, time } from "../common/format.js";
import { heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { busy, button, confirm, empty, h, notice } from "../common/view.js";
import { links } from "./links.js";

const GUESSES = { http_password: "password", token: "token of a login", visitor_key: "secretKey of a visitor" };

/** The screen with all of them. */
export async function bansScreen(context) {
  const left = (row) => span(row.until - Date.now() / 1000);
  const columns = [
    { label: "Source", cell: (row) => h("span", { class: "code-text" }, row.source), sort: "source", kind: "wide" },
    { label: "Kept out of", cell: (row) => (row.proxy ? h("a", { href: links.proxyLink(row.proxy) }, row.proxy) : "logins"), sort: "proxy" },
    { label: "Guessed", cell: (row) => GUESSES[row.guess] ?? row.guess },
    { label: "Wrong guesses", cell: (row) => number(row.failures), sort: "failures", kind: "number" },
    { label: "Age", cell: (row) => h("span", { title: time(row.since) }, age(row.since)), sort: "-since", kind: "number", moves: true },
    { label: "Left", cell: (row) => h("span", { title: time(row.until) }, left(row)), sort: "until", kind: "number", moves: true },
    { label: "Actions", cell: liftButton, kind: "actions" },
  ];
  function liftButton(row) {
    const from = row.proxy || "logins";
    const press = () =>
      busy(element, async () => {
        if (!(await confirm("Lift this ban?", `${row.source} may come to ${from} again at once, and guess again.`, "Lift it"))) return;
        await remove(`api/v2/bans/${part(row.id)}`);
        notice(`${row.source} is banned from ${from} no longer.`);
        await table.read();
      });
    const element = button("Lift", press, "small", { "aria-label": `Lift the ban of ${row.source} from ${from}` });
    return element;
  }
  const table = pagedTable({
    context,
    caption: "Sources that are banned",
    things: ["ban", "bans"],
    columns,
    load: (query, signal) => get("api/v2/bans", query, signal),
    rowKey: (row) => String(row.id),
    search: "Search sources and proxies",
    none: () => empty("Nobody is banned", "Who guesses tokens, passwords or keys wrong too often is listed here, if bans.failures is set."),
    seconds: 5,
  });
  return { title: "Bans", content: [heading("Bans"), table.element] };
}
