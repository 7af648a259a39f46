// The server at a glance: numbers, traffic, kinds of proxies, configuration, draining.

import { get, part, post, remove } from "../common/api.js";
import { trafficChart } from "../common/chart.js";
import { age, bytes, number, time } from "../common/format.js";
import { on } from "../common/live.js";
import { card, cardRow, keepDrawn } from "../common/screen.js";
import { heading } from "../common/shell.js";
import { badge, busy, button, confirm, facts, h, notice, panel, show } from "../common/view.js";
import { links } from "./links.js";

export async function overviewScreen(context) {
  const { signal } = context;
  const read = () => Promise.all([get("api/v2/system/info", {}, signal), get("api/v2/system/state", {}, signal)]);

  const cards = {
    clients: card("Clients", "#/clients"),
    proxies: card("Proxies", "#/proxies"),
    connections: card("Connections", "#/connections"),
    today: card("Traffic today"),
  };
  const kinds = h("div", {});
  const disabledList = h("ul", { class: "plain" });
  const disabledPanel = panel("Disabled proxies", disabledList);
  // Also of those that nobody publishes, which are listed nowhere else.
  const enableButton = (name) => {
    const enable = async () => {
      await post(`api/v2/proxies/${part(name)}/enable`);
      notice(`${name} lets users in again.`);
      await refresh();
    };
    const element = button("Enable", () => busy(element, enable), "small", { "aria-label": `Enable ${name}` });
    return element;
  };
  const settings = h("div", {});
  const program = h("div", {});
  const banner = h("div", { role: "status" });
  const drain = button("", () => busy(drain, toggleDrain));
  let isDraining = false;

  async function toggleDrain() {
    if (isDraining) {
      await remove("api/v2/system/drain");
      notice("The server lets clients and users in again.");
    } else {
      const text = "No new clients and no new users are let in from now on; those that are connected may finish. Clients that lose their connection cannot come back until the server is opened again.";
      if (!(await confirm("Drain the server?", text, "Drain"))) return;
      await post("api/v2/system/drain");
      notice("The server lets nobody new in.");
    }
    await refresh();
  }

  function draw([info, state]) {
    const { config, status } = info;
    isDraining = state.draining;
    show(drain, isDraining ? "Let in again" : "Drain…");
    drain.className = `button ${isDraining ? "primary" : ""}`;
    show(banner, isDraining && h("p", { class: "banner warn" }, "The server is draining: no new clients and no new users are let in. Those that are connected may finish."));
    show(cards.clients.value, number(state.clients));
    const online = Object.values(status.proxyTypeCount ?? {}).reduce((sum, it) => sum + it, 0);
    show(cards.proxies.value, number(state.proxies ?? online));
    const disabled = state.disabledProxies;
    show(cards.proxies.note, disabled.length ? `${number(disabled.length)} disabled` : "");
    disabledPanel.hidden = disabled.length === 0;
    show(disabledList, disabled.map((name) => h("li", {}, h("a", { href: links.proxyLink(name) }, name), enableButton(name))));
    show(cards.connections.value, number(state.connections));
    show(cards.today.value, bytes(status.totalTrafficIn + status.totalTrafficOut));
    show(cards.today.note, `${bytes(status.totalTrafficIn)} from users, ${bytes(status.totalTrafficOut)} to users`);
    const counts = Object.entries(status.proxyTypeCount ?? {}).filter(([, count]) => count > 0);
    const item = ([type, count]) => h("li", {}, h("a", { href: `#/proxies/${type}` }, h("span", {}, type), h("strong", {}, number(count))));
    show(kinds, counts.length ? h("ul", { class: "kinds" }, counts.sort().map(item)) : h("p", { class: "quiet-text" }, "No proxy is running."));
    const port = (value) => value || null;
    show(
      settings,
      facts(
        ["Control port", config.bindPort],
        ["KCP port", port(config.kcpBindPort)],
        ["QUIC port", port(config.quicBindPort)],
        ["HTTP port", port(config.vhostHTTPPort)],
        ["HTTPS port", port(config.vhostHTTPSPort)],
        ["TCPMUX port", port(config.tcpmuxHTTPConnectPort)],
        ["Host of subdomains", config.subdomainHost],
        ["Allowed ports", config.allowPortsStr || "any"],
        ["Ports per client", config.maxPortsPerClient || "any number"],
        ["Largest pool", config.maxPoolCount],
        ["TLS", config.tlsForce ? badge("required", "good") : "optional"],
        ["Heartbeat timeout", config.heartbeatTimeout > 0 ? `${config.heartbeatTimeout} s` : "off"],
      ),
    );
    show(program, facts(["Version", state.version], ["frp version", info.version], ["Running for", age(state.startedAt)], ["Since", time(state.startedAt)]));
  }

  const refresh = await keepDrawn({ signal, read, draw, events: ["client", "proxy"], seconds: 10 });
  on("traffic", (it) => {
    if (it.clients !== undefined) show(cards.clients.value, number(it.clients));
    if (it.proxies !== undefined) show(cards.proxies.value, number(it.proxies));
    show(cards.connections.value, number(it.connections));
  }, signal);
  return {
    title: "Overview",
    content: [
      heading("Overview", drain),
      banner,
      cardRow(cards),
      panel("Live traffic", trafficChart(signal)),
      disabledPanel,
      h("div", { class: "columns" }, panel("Proxies by type", kinds), panel("Configuration", settings), panel("Program", program)),
    ],
  };
}
