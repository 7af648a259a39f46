// The client at a glance: its servers, numbers, traffic, and a reload.

import { get } from "../common/api.js";
import { trafficChart } from "../common/chart.js";
import { age, bytes, number, time } from "../common/format.js";
import { on } from "../common/live.js";
import { card, cardRow, keepDrawn } from "../common/screen.js";
import { heading } from "../common/shell.js";
import { badge, busy, button, confirm, facts, h, notice, panel, show } from "../common/view.js";

/** Has the client read its configuration again. */
export async function reload() {
  await get("api/reload");
  notice("The configuration was read again and applied.");
}

export async function overviewScreen(context) {
  const { signal } = context;
  const read = () =>
    Promise.all([
      get("api/v2/state", {}, signal),
      get("api/v2/proxies", { pageSize: 1 }, signal),
      get("api/v2/proxies", { pageSize: 1, status: "running" }, signal),
      get("api/v2/visitors", { pageSize: 1 }, signal),
    ]);
  const cards = {
    proxies: card("Proxies", "#/proxies"),
    visitors: card("Visitors", "#/visitors"),
    connections: card("Connections", "#/connections"),
    traffic: card("Traffic since the start"),
  };
  const servers = h("div", {});
  const program = h("div", {});
  const again = button("Reload configuration", () =>
    busy(again, async () => {
      if (await confirm("Reload the configuration?", "Proxies that changed are started anew; the others are left alone.", "Reload", "primary")) await reload();
    }),
  );

  function draw([state, proxies, running, visitors]) {
    show(cards.proxies.value, number(proxies.total));
    show(cards.proxies.note, proxies.total ? `${number(running.total)} running` : "");
    show(cards.visitors.value, number(visitors.total));
    const item = (it) =>
      h(
        "li",
        { class: "server" },
        h("p", {}, h("strong", { class: "code-text" }, it.address), " ", it.connected ? badge("connected", "good") : badge("not connected", "bad")),
        it.connected && h("p", { class: "quiet-text" }, `over ${it.links > 1 ? `${it.links} connections of ` : ""}${it.transport}, for ${age(it.since)}, run id ${it.runID}`),
        it.error && h("p", { class: "error-text" }, it.error),
      );
    show(servers, h("ul", { class: "plain" }, state.servers.map(item)));
    show(
      program,
      facts(
        ["Version", state.version],
        ["User", state.user],
        ["Configuration", state.configFile && h("span", { class: "code-text" }, state.configFile)],
        ["Store", state.store ? "on" : h("a", { href: "#/store" }, "off")],
        ["Running for", age(state.startedAt)],
        ["Since", time(state.startedAt)],
      ),
    );
    again.hidden = !state.configFile;
  }
  await keepDrawn({ signal, read, draw, events: ["session", "proxy"], seconds: 10 });
  on("traffic", (it) => {
    show(cards.connections.value, number(it.connections));
    show(cards.traffic.value, bytes(it.received + it.sent));
    show(cards.traffic.note, `${bytes(it.received)} from users, ${bytes(it.sent)} to users`);
  }, signal);
  return {
    title: "Overview",
    content: [
      heading("Overview", again),
      cardRow(cards),
      panel("Live traffic", trafficChart(signal)),
      h("div", { class: "columns two" }, panel("Servers", servers), panel("Program", program)),
    ],
  };
}
