// Live connections of users, with a button that closes one.

import { get, part, remove } from "./api.js";
import { age, bytes, time } from "./format.js";
import { heading } from "./shell.js";
import { pagedTable } from "./table.js";
import { busy, button, confirm, empty, h, notice } from "./view.js";

/** The table, of one proxy or of all. `proxyLink(name)`: where a proxy is shown; `clientLink(key)`: likewise, where clients are known. */
export function connectionTable(context, { proxy, proxyLink, clientLink }) {
  const columns = [
    { label: "User", cell: (row) => h("span", { class: "code-text" }, row.remoteAddr), sort: "remoteAddr", kind: "wide" },
    !proxy && { label: "Proxy", cell: (row) => h("a", { href: proxyLink(row.proxy) }, row.proxy), sort: "proxy" },
    { label: "Type", cell: (row) => row.type, sort: "type" },
    clientLink && { label: "Client", cell: (row) => row.client && h("a", { href: clientLink(row.client) }, row.client), sort: "client" },
    { label: "Age", cell: (row) => h("span", { title: time(row.since) }, age(row.since)), sort: "-since", kind: "number", moves: true },
    { label: "Received", cell: (row) => bytes(row.received), sort: "received", kind: "number" },
    { label: "Sent", cell: (row) => bytes(row.sent), sort: "sent", kind: "number" },
    { label: "Actions", cell: closeButton, kind: "actions" },
  ].filter(Boolean);
  function closeButton(row) {
    const label = `Close the connection of ${row.remoteAddr} to ${row.proxy}`;
    const press = () =>
      busy(element, async () => {
        if (!(await confirm("Close this connection?", `${row.remoteAddr} is cut off from ${row.proxy} at once. It may connect again.`, "Close it"))) return;
        await remove(`api/v2/connections/${part(row.id)}`);
        notice(`The connection of ${row.remoteAddr} was closed.`);
        await table.read();
      });
    const element = button("Close", press, "small", { "aria-label": label });
    return element;
  }
  const table = pagedTable({
    context,
    caption: "Live connections of users",
    things: ["connection"],
    columns,
    load: (query, signal) => get("api/v2/connections", { ...query, proxy }, signal),
    rowKey: (row) => String(row.id),
    search: proxy ? null : "Search users and proxies",
    none: () => empty("Nobody is connected", proxy ? null : "Connections of users are listed here while they last."),
    events: ["connection"],
    seconds: 3,
  });
  return table;
}

/** The screen with all of them. */
export const connectionsScreen = (links) => async (context) => ({
  title: "Connections",
  content: [heading("Connections"), connectionTable(context, links).element],
});
