// The client's visitors, and one of them.

import { get, part } from "../common/api.js";
import { number } from "../common/format.js";
import { back, heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { badge, empty, facts, h, panel } from "../common/view.js";
import { definitionList, entryActions, newLink } from "./entries.js";
import { links } from "./links.js";

const state = (row) => badge(row.status, row.status === "running" ? "good" : row.error ? "bad" : "plain");

export async function visitorsScreen(context) {
  const { store } = await get("api/v2/state", {}, context.signal);
  const table = pagedTable({
    context,
    caption: "Visitors",
    things: ["visitor"],
    columns: [
      { label: "Visitor", cell: (row) => h("a", { href: links.visitorLink(row.name) }, row.name), sort: "name", kind: "wide" },
      { label: "Type", cell: (row) => row.type, sort: "type" },
      { label: "State", cell: (row) => [state(row), row.error && h("p", { class: "error-text" }, row.error)], sort: "status" },
      { label: "Listens on", cell: (row) => h("span", { class: "code-text" }, row.bindAddr), sort: "bindAddr" },
      { label: "Leads to", cell: (row) => row.serverName, sort: "serverName" },
      { label: "Users", cell: (row) => number(row.connections), sort: "connections", kind: "number" },
      {
        label: "Actions",
        cell: (row) => (row.source === "store" ? entryActions("visitor", row.name, true, () => table.read(), "small") : h("span", { class: "quiet-text" }, "file")),
        kind: "actions",
      },
    ],
    load: (query, signal) => get("api/v2/visitors", query, signal),
    rowKey: (row) => row.name,
    search: "Search visitors",
    none: () => empty("No visitors yet", "A visitor is a local entry to another client's private proxy.", newLink("visitor", store)),
    events: ["session"],
  });
  return { title: "Visitors", content: [heading("Visitors", newLink("visitor", store)), table.element] };
}

export async function visitorScreen(context) {
  const { name } = context.params;
  const [definition, rows] = await Promise.all([
    get(`api/visitor/${part(name)}/config`, {}, context.signal),
    get("api/v2/visitors", { name }, context.signal),
  ]);
  const row = rows.items[0];
  const isEnabled = definition[definition.type]?.enabled !== false;
  const done = () => (location.hash = "#/visitors");
  const actions = row?.source === "config" ? null : entryActions("visitor", name, isEnabled, done, "");
  const about = facts(
    ["State", row ? state(row) : badge("disabled")],
    ["Error", row?.error],
    ["Type", definition.type],
    ["Source", row?.source === "config" ? "configuration file" : "store"],
    ["Listens on", row?.bindAddr],
    ["Users now", row && number(row.connections)],
  );
  return {
    title: name,
    content: [
      back("#/visitors", "Visitors"),
      h("div", { class: "heading" }, h("h1", {}, name), h("div", { class: "actions" }, actions)),
      h("div", { class: "columns two" }, panel("Visitor", about), panel("Configuration", definitionList(definition))),
    ],
  };
}
