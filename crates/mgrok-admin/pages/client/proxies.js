// The client's proxies, and one of them with those who are connected to it.

import { get, part } from "../common/api.js";
import { connectionTable } from "../common/connections.js";
import { bytes, number } from "../common/format.js";
import { keepDrawn } from "../common/screen.js";
import { back, heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { badge, empty, facts, h, panel, show } from "../common/view.js";
import { definitionList, entryActions, newLink } from "./entries.js";
import { links } from "./links.js";

export const TYPES = ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp"];
const STATES = ["new", "wait start", "start error", "running", "check failed", "closed"];

/** The state of a proxy, in its colour. */
export function status(row) {
  const tone = { running: "good", "start error": "bad", "check failed": "bad", "wait start": "warn", new: "warn" }[row.status] ?? "plain";
  return badge(row.status, tone);
}

const option = (it) => [it, it];
const target = (row) => (row.plugin ? `plugin ${row.plugin}` : row.localAddr);

export async function proxiesScreen(context) {
  const state = await get("api/v2/state", {}, context.signal);
  const table = pagedTable({
    context,
    caption: "Proxies",
    things: ["proxy", "proxies"],
    columns: [
      { label: "Proxy", cell: (row) => h("a", { href: links.proxyLink(row.name) }, row.name), sort: "name", kind: "wide" },
      { label: "Type", cell: (row) => row.type, sort: "type" },
      { label: "State", cell: (row) => [status(row), row.error && h("p", { class: "error-text" }, row.error)], sort: "status" },
      { label: "Public", cell: (row) => h("span", { class: "code-text" }, row.remoteAddr), sort: "remoteAddr" },
      { label: "Service", cell: (row) => h("span", { class: "code-text" }, target(row)), sort: "localAddr" },
      { label: "Users", cell: (row) => number(row.connections), sort: "connections", kind: "number" },
      {
        label: "In / out",
        cell: (row) => [bytes(row.received), h("br"), bytes(row.sent)],
        sort: "received",
        kind: "number",
      },
      { label: "Actions", cell: (row) => actions(row), kind: "actions" },
    ],
    load: (query, signal) => get("api/v2/proxies", query, signal),
    rowKey: (row) => row.name,
    search: "Search proxies",
    filters: [
      { name: "type", label: "Type", options: [["", "All types"], ...TYPES.map(option)] },
      { name: "status", label: "State", options: [["", "All states"], ...STATES.map(option)] },
      { name: "source", label: "Source", options: [["", "File and store"], ["config", "File"], ["store", "Store"]] },
    ],
    none: () => empty("No proxies yet", "A proxy publishes a local service through the server.", newLink("proxy", state.store)),
    events: ["proxy", "session"],
    seconds: 5,
  });
  function actions(row) {
    const inspect = row.inspect && h("a", { class: "button small", href: `#/requests?proxy=${part(row.name)}`, "aria-label": `Requests of ${row.name}` }, "Requests");
    if (row.source !== "store") return inspect || h("span", { class: "quiet-text", title: "It stands in the configuration file" }, "file");
    return [inspect, entryActions("proxy", row.name, true, () => table.read(), "small", true)];
  }
  return { title: "Proxies", content: [heading("Proxies", newLink("proxy", state.store)), table.element] };
}

export async function proxyScreen(context) {
  const { signal } = context;
  const { name } = context.params;
  const read = async () => {
    const [definition, rows] = await Promise.all([
      get(`api/proxy/${part(name)}/config`, {}, signal),
      get("api/v2/proxies", { name }, signal),
    ]);
    return { definition, row: rows.items[0] };
  };
  const place = h("div", {});
  const config = h("div", {});
  const actions = h("div", { class: "actions" });
  const error = h("div", { role: "status" });

  function draw({ definition, row }) {
    show(error, row?.error && h("p", { class: "banner bad" }, row.error));
    show(
      place,
      facts(
        ["State", row ? status(row) : badge("disabled")],
        ["Type", definition.type],
        ["Source", row?.source === "config" ? "configuration file" : "store"],
        ["Public", row?.remoteAddr && h("span", { class: "code-text" }, row.remoteAddr)],
        ["Service", row && h("span", { class: "code-text" }, target(row))],
        ["Users now", row && number(row.connections)],
        ["Received", row && bytes(row.received)],
        ["Sent", row && bytes(row.sent)],
        ["Requests", row?.inspect && h("a", { href: `#/requests?proxy=${part(name)}` }, "inspect")],
      ),
    );
    show(config, definitionList(definition));
    const isEnabled = definition[definition.type]?.enabled !== false;
    const done = () => (location.hash = "#/proxies");
    show(actions, row?.source !== "config" && entryActions("proxy", name, isEnabled, done, ""));
  }
  // One that was taken out of the store is shown as it was.
  const gone = () => {};
  await keepDrawn({ signal, read, draw, gone, ours: { proxy: (it) => it.name === name }, seconds: 5 });
  const connections = connectionTable(context, { ...links, proxy: name });
  return {
    title: name,
    content: [
      back("#/proxies", "Proxies"),
      h("div", { class: "heading" }, h("h1", {}, name), actions),
      error,
      h("div", { class: "columns two" }, panel("Proxy", place), panel("Configuration", config)),
      h("h2", {}, "Who is connected"),
      connections.element,
    ],
  };
}
