// What can be done with proxies and visitors that stand in the store.

import { part, remove, request } from "../common/api.js";
import { busy, button, confirm, copy, facts, h, notice } from "../common/view.js";

/** The words and addresses of what the store has. */
export const KINDS = {
  proxy: { store: "api/store/proxies", list: "proxies", screen: "#/proxies", title: "Proxy" },
  visitor: { store: "api/store/visitors", list: "visitors", screen: "#/visitors", title: "Visitor" },
};

/** The link to the form for a new one; to the explanation if there is no store. */
export function newLink(kind, hasStore) {
  const label = `New ${kind}`;
  return h("a", { class: "button primary", href: hasStore ? `${KINDS[kind].screen}/create` : "#/store" }, label);
}

/** Edit, disable or enable, and, unless they are `brief`, delete an entry of the store. `then` is called after a change. */
export function entryActions(kind, name, isEnabled, then, size, brief = false) {
  const { store, screen } = KINDS[kind];
  const path = `${store}/${part(name)}`;
  const edit = h("a", { class: `button ${size}`, href: `${screen}/${part(name)}/edit`, "aria-label": `Edit ${name}` }, "Edit");
  const word = isEnabled ? "Disable" : "Enable";
  const toggle = button(word, () =>
    busy(toggle, async () => {
      const { data, etag } = await request("GET", path);
      const block = { ...data[data.type] };
      if (isEnabled) block.enabled = false;
      else delete block.enabled;
      await request("PUT", path, { json: { ...data, [data.type]: block }, etag });
      notice(isEnabled ? `${name} is disabled. The store lists it.` : `${name} is enabled.`);
      await then();
    }), size, { "aria-label": `${word} ${name}` });
  const away = button("Delete", () =>
    busy(away, async () => {
      if (!(await confirm(`Delete ${name}?`, "It is stopped, its users are cut off, and it is taken out of the store.", "Delete"))) return;
      await remove(path);
      notice(`${name} was deleted.`);
      await then();
    }), `${size} danger-text`, { "aria-label": `Delete ${name}` });
  return brief ? [edit, toggle] : [edit, toggle, away];
}

const SECRET = /password|secretkey|groupkey|token/i;

/** The keys of a definition that say something, with their values. Secrets are shown when they are asked for. */
export function definitionList(definition) {
  const pairs = [];
  const walk = (value, key) => {
    if (value === null || value === "" || value === undefined || value === false || value === 0) return;
    if (Array.isArray(value)) return value.length && pairs.push([key, typeof value[0] === "object" ? JSON.stringify(value) : value.join(", ")]);
    if (typeof value === "object") return Object.entries(value).forEach(([name, it]) => walk(it, key ? `${key}.${name}` : name));
    pairs.push([key, SECRET.test(key.split(".").at(-1)) ? secret(String(value)) : String(value)]);
  };
  walk(definition[definition.type] ?? {}, "");
  return [facts(...pairs.filter(([key]) => key !== "name" && key !== "type")), button("Copy as JSON", () => copy(JSON.stringify(definition, null, 2)), "small")];
}

function secret(value) {
  const shown = h("span", {}, "••••••");
  const toggle = button("Show", () => {
    shown.textContent = value;
    toggle.remove();
  }, "small");
  return [shown, " ", toggle];
}
