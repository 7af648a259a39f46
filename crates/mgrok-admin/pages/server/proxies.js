// The proxies, by type, and one of them.

import { get, part, post, remove } from "../common/api.js";
import { dayBars } from "../common/chart.js";
import { connectionTable } from "../common/connections.js";
import { bytes, number, plural, time } from "../common/format.js";
import { keepDrawn } from "../common/screen.js";
import { back, heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { badge, busy, button, confirm, empty, facts, h, notice, panel, show } from "../common/view.js";
import { clientKey, links } from "./links.js";

const TYPES = ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp"];

function state(status) {
  const phase = status.phase === "online" ? badge("online", "good") : badge(status.phase || "offline");
  return [phase, status.disabled && badge("disabled", "warn")];
}

/** Where users reach a proxy. */
function publicNames(spec) {
  const block = spec[spec.type] ?? {};
  if (block.remotePort) return `:${block.remotePort}`;
  const names = [...(block.customDomains ?? [])];
  if (block.subdomain) names.push(`${block.subdomain}.*`);
  return names.join(", ");
}

/** The button that disables a proxy, or enables it again. */
function switchButton(proxy, then, kind) {
  const { name, status } = proxy;
  const press = () =>
    busy(element, async () => {
      if (status.disabled) {
        await post(`api/v2/proxies/${part(name)}/enable`);
        notice(`${name} lets users in again.`);
      } else {
        const text = `No new users are let in to ${name} until it is enabled again, whoever publishes it. Those that are connected stay.`;
        if (!(await confirm("Disable this proxy?", text, "Disable"))) return;
        await post(`api/v2/proxies/${part(name)}/disable`);
        notice(`${name} lets no new users in.`);
      }
      await then();
    });
  const word = status.disabled ? "Enable" : "Disable";
  const element = button(word, press, kind, { "aria-label": `${word} ${name}` });
  return element;
}

/** The table, of all proxies or of those that `of` says. */
export function proxyTable(context, of = {}) {
  const table = pagedTable({
    context,
    caption: "Proxies",
    things: ["proxy", "proxies"],
    columns: [
      { label: "Proxy", cell: (row) => h("a", { href: links.proxyLink(row.name) }, row.name), sort: "name", kind: "wide" },
      !of.type && { label: "Type", cell: (row) => row.spec.type, sort: "type" },
      { label: "State", cell: (row) => state(row.status), sort: "-phase" },
      { label: "Public", cell: (row) => h("span", { class: "code-text" }, publicNames(row.spec)), sort: "public" },
      of.clientID === undefined && {
        label: "Client",
        cell: (row) => row.clientID && h("a", { href: links.clientLink(clientKey(row)) }, clientKey(row)),
        sort: "client",
      },
      { label: "Users", cell: (row) => number(row.status.curConns), sort: "curConns", kind: "number" },
      { label: "In today", cell: (row) => bytes(row.status.todayTrafficIn), sort: "todayTrafficIn", kind: "number" },
      { label: "Out today", cell: (row) => bytes(row.status.todayTrafficOut), sort: "todayTrafficOut", kind: "number" },
      { label: "Actions", cell: (row) => switchButton(row, () => table.read(), "small"), kind: "actions" },
    ].filter(Boolean),
    load: (query, signal) => get("api/v2/proxies", { ...query, ...of }, signal),
    rowKey: (row) => row.name,
    search: "Search proxies",
    filters: [{ name: "status", label: "State", options: [["", "Online and offline"], ["online", "Online"], ["offline", "Offline"]] }],
    none: () => empty("No proxies here", of.type ? `No client has published anything of type ${of.type}.` : "What clients publish is listed here."),
    events: ["proxy", "client"],
  });
  return table;
}

export async function proxiesScreen(context) {
  const { type } = context.params;
  const tab = (value, label) => h("a", { href: `#/proxies${value ? `/${value}` : ""}`, "aria-current": (type ?? "") === value ? "page" : null }, label);
  const tabs = h("nav", { class: "tabs", "aria-label": "Types of proxies" }, tab("", "All"), TYPES.map((it) => tab(it, it.toUpperCase())));
  const table = proxyTable(context, type ? { type } : {});
  const clear = button("Clear offline…", () =>
    busy(clear, async () => {
      if (!(await confirm("Forget offline proxies?", "Their traffic of the last days is forgotten with them.", "Forget them"))) return;
      const { cleared } = await post("api/v2/system/prune?type=offline_proxies");
      notice(`${plural(cleared, "proxy", "proxies")} forgotten.`);
      await table.read();
    }),
  );
  return { title: "Proxies", content: [heading("Proxies", clear), tabs, table.element] };
}

export async function proxyScreen(context) {
  const { signal } = context;
  const { name } = context.params;
  const path = `api/v2/proxies/${part(name)}`;
  const read = () => Promise.all([get(path, {}, signal), get(`${path}/traffic`, {}, signal)]);
  const place = h("div", {});
  const days = h("div", {});
  const actions = h("div", { class: "actions" });
  const closeAll = button("Close its connections…", () =>
    busy(closeAll, async () => {
      if (!(await confirm("Close all connections?", `All users of ${name} are cut off at once. They may connect again.`, "Close all"))) return;
      const { closed } = await remove(`${path}/connections`);
      notice(`${plural(closed, "connection")} closed.`);
      await refresh();
    }),
  );

  function draw([proxy, traffic], refresh) {
    const { spec, status } = proxy;
    const block = spec[spec.type] ?? {};
    const { transport = {} } = block;
    const yes = (value) => (value ? "on" : "off");
    const key = clientKey(proxy);
    show(
      place,
      facts(
        ["State", state(status)],
        ["Last error", status.error ?? status.lastError],
        ["Type", spec.type],
        ["Client", key && h("a", { href: links.clientLink(key) }, key)],
        ["Public port", block.remotePort],
        ["Domains", block.customDomains?.join(", ")],
        ["Subdomain", block.subdomain],
        ["Locations", block.locations?.join(", ")],
        ["Host is rewritten to", block.hostHeaderRewrite],
        ["Multiplexer", block.multiplexer],
        ["User of the route", block.routeByHTTPUser],
        ["Group", block.loadBalancer?.group],
        ["Encryption", block.transport && yes(transport.useEncryption)],
        ["Compression", block.transport && yes(transport.useCompression)],
        ["Bandwidth limit", transport.bandwidthLimit && `${transport.bandwidthLimit} (${transport.bandwidthLimitMode})`],
        ["Users now", number(status.curConns)],
        ["UDP users", status.udpUsers || null],
        ["Connections since the start", status.connectionsOpened === undefined ? null : number(status.connectionsOpened)],
        ["Traffic today", `${bytes(status.todayTrafficIn)} from users, ${bytes(status.todayTrafficOut)} to users`],
        ["Started", time(status.lastStartAt)],
        ["Stopped", time(status.lastCloseAt)],
        ...Object.entries(block.annotations ?? {}).map(([key, value]) => [`Annotation ${key}`, value]),
      ),
    );
    show(days, dayBars(traffic.history));
    show(actions, switchButton(proxy, refresh, ""), closeAll);
  }
  const gone = () => show(place, empty("This proxy is gone", "It is not published any more, and its statistics were cleared."));
  const refresh = await keepDrawn({ signal, read, draw, gone, ours: { proxy: (it) => it.name === name }, seconds: 5 });
  const connections = connectionTable(context, { ...links, proxy: name });
  return {
    title: name,
    content: [
      back("#/proxies", "Proxies"),
      h("div", { class: "heading" }, h("h1", {}, name), actions),
      h("div", { class: "columns two" }, panel("Proxy", place), panel("Last seven days", days)),
      h("h2", {}, "Connections"),
      connections.element,
    ],
  };
}
