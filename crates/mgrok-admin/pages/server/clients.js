// The clients, one of them, and the users that they belong to.

import { get, part, remove } from "../common/api.js";
import { age, number, plural, time } from "../common/format.js";
import { keepDrawn } from "../common/screen.js";
import { back, heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { badge, busy, button, confirm, empty, facts, h, notice, panel, show } from "../common/view.js";
import { links } from "./links.js";
import { proxyTable } from "./proxies.js";

const state = (online) => (online ? badge("online", "good") : badge("offline"));

/** The button that ends a client's session; `then` is called when it did. */
function endButton(client, then, kind) {
  const press = () =>
    busy(element, async () => {
      const text = `${client.key} loses its session and its proxies, and users are cut off. The client may log in again at once; to keep it out, change its credentials.`;
      if (!(await confirm("End this session?", text, "End session"))) return;
      await remove(`api/v2/clients/${part(client.key)}`);
      notice(`The session of ${client.key} was ended.`);
      await then();
    });
  const element = button("End session", press, kind, { "aria-label": `End session of ${client.key}` });
  return element;
}

export async function clientsScreen(context) {
  const user = context.query.get("user");
  const since = (row) => (row.online ? row.lastConnectedAt : row.disconnectedAt);
  const table = pagedTable({
    context,
    caption: "Clients",
    things: ["client"],
    columns: [
      { label: "Client", cell: (row) => h("a", { href: links.clientLink(row.key) }, row.key), sort: "key", kind: "wide" },
      { label: "State", cell: (row) => state(row.online), sort: "-online" },
      { label: "Host", cell: (row) => row.hostname, sort: "hostname" },
      { label: "Address", cell: (row) => h("span", { class: "code-text" }, row.clientIP), sort: "clientIP" },
      { label: "Version", cell: (row) => [row.version, " ", h("span", { class: "quiet-text" }, row.wireProtocol)], sort: "version" },
      { label: "For", cell: (row) => h("span", { title: time(since(row)) }, age(since(row))), sort: "-since", kind: "number", moves: true },
      { label: "Actions", cell: (row) => row.online && endButton(row, () => table.read(), "small"), kind: "actions" },
    ],
    load: (query, signal) => get("api/v2/clients", query, signal),
    keep: user === null ? {} : { user },
    rowKey: (row) => row.key,
    search: "Search clients",
    filters: [{ name: "status", label: "State", options: [["", "Online and offline"], ["online", "Online"], ["offline", "Offline"]] }],
    none: () => empty("No clients yet", "Clients are listed here from their first login on."),
    events: ["client"],
  });
  return { title: "Clients", content: [heading(user ? `Clients of ${user}` : "Clients"), table.element] };
}

export async function clientScreen(context) {
  const { signal } = context;
  const { key } = context.params;
  const read = () => get(`api/v2/clients/${part(key)}`, {}, signal);
  let client = null;
  const place = h("div", {});
  const actions = h("div", { class: "actions" });

  function draw(it, refresh) {
    client = it;
    show(
      place,
      facts(
        ["State", state(it.online)],
        ["User", it.user],
        ["Client id", it.clientID],
        ["Run id", it.runID && h("span", { class: "code-text" }, it.runID)],
        ["Host", it.hostname],
        ["Address", h("span", { class: "code-text" }, it.clientIP)],
        ["Version", it.version],
        ["Wire protocol", it.wireProtocol],
        ["Connections of users", it.status && number(it.status.curConns)],
        ["Proxies", it.status && number(it.status.proxyCount)],
        ["First seen", time(it.firstConnectedAt)],
        ["Connected", time(it.lastConnectedAt)],
        ["Left", time(it.disconnectedAt)],
      ),
    );
    show(actions, it.online && endButton(it, refresh, "danger"));
  }
  const gone = () => show(place, empty("This client is gone", "Clients without an id of their own are forgotten when they leave."));
  await keepDrawn({ signal, read, draw, gone, ours: { client: (it) => it.key === key }, seconds: 10 });
  const proxies = proxyTable(context, { user: client.user, clientID: client.clientID || client.runID });
  return {
    title: key,
    content: [back("#/clients", "Clients"), h("div", { class: "heading" }, h("h1", {}, key), actions), panel(null, place), h("h2", {}, "Proxies"), proxies.element],
  };
}

export async function usersScreen(context) {
  const table = pagedTable({
    context,
    caption: "Users that clients belong to",
    things: ["user"],
    columns: [
      { label: "User", cell: (row) => row.user || h("span", { class: "quiet-text" }, "without a user"), sort: "user", kind: "wide" },
      { label: "Clients", cell: (row) => h("a", { href: `#/clients?user=${part(row.user)}` }, plural(row.clientCount, "client")), sort: "clientCount", kind: "number" },
      { label: "Proxies", cell: (row) => plural(row.proxyCount, "proxy", "proxies"), sort: "proxyCount", kind: "number" },
    ],
    load: (query, signal) => get("api/v2/users", query, signal),
    rowKey: (row) => row.user,
    search: "Search users",
    none: () => empty("No users yet", "The names that clients give as their user are listed here."),
    events: ["client"],
  });
  return { title: "Users", content: [heading("Users"), table.element] };
}
