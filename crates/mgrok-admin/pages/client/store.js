// The store: proxies and visitors that were added here, also those that are disabled; and how to switch a store on.

import { get } from "../common/api.js";
import { heading } from "../common/shell.js";
import { badge, button, copy, empty, h, show } from "../common/view.js";
import { KINDS, entryActions, newLink } from "./entries.js";
import { links } from "./links.js";

const SAMPLE = `[store]
path = "./store.json"
`;

export async function storeScreen(context) {
  const { signal } = context;
  const state = await get("api/v2/state", {}, signal);
  if (!state.store) {
    return {
      title: "Store",
      content: [
        heading("Store"),
        h(
          "section",
          { class: "panel" },
          h("h2", {}, "The store is off"),
          h("p", {}, "Proxies and visitors that are added in this page are kept in a file of their own. Add this to the configuration file, and reload:"),
          h("pre", { class: "code", tabindex: "0", "aria-label": "Sample configuration" }, SAMPLE),
          h("div", { class: "actions" }, button("Copy", () => copy(SAMPLE)), h("a", { class: "button primary", href: "#/config" }, "To the configuration")),
        ),
      ],
    };
  }
  const place = h("div", {});
  async function draw() {
    const [{ proxies }, { visitors }] = await Promise.all([get(KINDS.proxy.store, {}, signal), get(KINDS.visitor.store, {}, signal)]);
    show(place, listing("proxy", "Proxies", proxies ?? [], links.proxyLink), listing("visitor", "Visitors", visitors ?? [], links.visitorLink));
  }
  function listing(kind, title, entries, link) {
    const row = (it) => {
      const isEnabled = it[it.type]?.enabled !== false;
      const cells = [
        h("td", { role: "cell", class: "wide", "data-label": title }, h("a", { href: link(it.name) }, it.name)),
        h("td", { role: "cell", "data-label": "Type" }, it.type),
        h("td", { role: "cell", "data-label": "State" }, isEnabled ? badge("enabled", "good") : badge("disabled")),
        h("td", { role: "cell", class: "actions" }, h("div", {}, entryActions(kind, it.name, isEnabled, draw, "small"))),
      ];
      return h("tr", { role: "row" }, cells);
    };
    const heads = [title, "Type", "State"].map((it) => h("th", { scope: "col", role: "columnheader" }, it));
    const last = h("th", { scope: "col", role: "columnheader", class: "actions" }, h("span", { class: "unseen" }, "Actions"));
    const table = h(
      "table",
      { class: "rows", role: "table" },
      h("caption", { class: "unseen" }, `${title} in the store`),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads, last)),
      h("tbody", { role: "rowgroup" }, entries.map(row)),
    );
    const body = entries.length ? h("div", { class: "scroll" }, table) : empty(`No ${title.toLowerCase()} in the store`, null);
    return h("section", { class: "listing" }, h("div", { class: "heading" }, h("h2", {}, title), newLink(kind, true)), body);
  }
  await draw();
  return { title: "Store", content: [heading("Store"), place] };
}
