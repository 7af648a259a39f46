// The request inspector: what went through http proxies, one request with its answer, and sending it again.

import { address, get, part, post, remove } from "../common/api.js";
import { bytes, clock, milliseconds, plural, time } from "../common/format.js";
import { back, heading } from "../common/shell.js";
import { pagedTable } from "../common/table.js";
import { badge, busy, button, confirm, copy, dialog, empty, facts, h, notice, panel, show } from "../common/view.js";
import { links } from "./links.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

const tone = (status) => (status >= 500 ? "bad" : status >= 400 ? "warn" : status >= 200 && status < 400 ? "good" : "plain");
const answer = (row) => (row.status ? badge(row.status, tone(row.status)) : badge(row.error ? "failed" : "…", row.error ? "bad" : "plain"));
const target = (row) => row.path + (row.query ? `?${row.query}` : "");

export async function requestsScreen(context) {
  const proxies = (await get("api/v2/proxies", { type: "http", pageSize: 200 }, context.signal)).items.filter((it) => it.inspect);
  let latest = {};
  const har = h("a", { class: "button", download: "requests.har" }, "Download HAR");
  const table = pagedTable({
    context,
    caption: "Requests",
    things: ["request"],
    columns: [
      { label: "Request", cell: (row) => h("a", { href: links.requestLink(row.id) }, h("strong", {}, row.method), " ", target(row)), sort: "path", kind: "wide" },
      { label: "Status", cell: (row) => [answer(row), row.replayOf ? badge("replay") : null], sort: "status" },
      { label: "Proxy", cell: (row) => h("a", { href: links.proxyLink(row.proxy) }, row.proxy), sort: "proxy" },
      { label: "User", cell: (row) => h("span", { class: "code-text" }, row.remoteAddr), sort: "remoteAddr" },
      { label: "Time", cell: (row) => h("span", { title: time(row.startedAt / 1000) }, clock(row.startedAt)), sort: "startedAt", kind: "number" },
      { label: "Duration", cell: (row) => milliseconds(row.duration), sort: "duration", kind: "number" },
      { label: "Size", cell: (row) => bytes(row.responseSize), sort: "responseSize", kind: "number" },
    ],
    load: (query, signal) => {
      const { page, pageSize, ...filters } = query;
      latest = filters;
      har.href = address("api/v2/requests.har", filters);
      return get("api/v2/requests", query, signal);
    },
    rowKey: (row) => String(row.id),
    search: "Search requests",
    filters: [
      { name: "proxy", label: "Proxy", options: [["", "All proxies"], ...proxies.map((it) => [it.name, it.name])] },
      { name: "method", label: "Method", options: [["", "All methods"], ...METHODS.map((it) => [it, it])] },
      { name: "status", label: "Status", options: [["", "All answers"], ["2xx", "2xx"], ["3xx", "3xx"], ["4xx", "4xx"], ["5xx", "5xx"]] },
      { name: "minDuration", label: "Duration", options: [["", "Any duration"], ["100", "over 100 ms"], ["500", "over 500 ms"], ["1000", "over 1 s"], ["5000", "over 5 s"]] },
      { name: "minSize", label: "Size", options: [["", "Any size"], ["10240", "over 10 KiB"], ["102400", "over 100 KiB"], ["1048576", "over 1 MiB"]] },
      { name: "path", label: "Path" },
      { name: "header", label: "Header, as name or name:value" },
    ],
    none: () =>
      proxies.length
        ? empty("No requests yet", `Requests to ${proxies.map((it) => it.name).join(", ")} are listed here as they come.`)
        : empty("No proxy is inspected", "Requests of an http proxy are kept here when its configuration has this line:", h("pre", { class: "code" }, "inspect.requests = 100")),
    events: ["request"],
  });
  const forget = button("Forget all…", () =>
    busy(forget, async () => {
      const { proxy } = latest;
      if (!(await confirm("Forget the requests?", `The requests ${proxy ? `of ${proxy}` : "of all proxies"} that are kept here are deleted.`, "Forget them"))) return;
      await remove("api/v2/requests", { proxy });
      await table.read();
    }),
  );
  return { title: "Requests", content: [heading("Requests", har, forget), table.element] };
}

export async function requestScreen(context) {
  const entry = await get(`api/v2/requests/${part(context.params.id)}`, {}, context.signal);
  const again = button("Replay", () => busy(again, () => replay(entry, {})), "primary");
  const edit = button("Edit and replay…", () => busy(edit, () => editAndReplay(entry)));
  const curl = button("Copy as curl", () => copy(asCurl(entry)));
  const { timing, websocket } = entry;
  const about = facts(
    ["Status", answer(entry)],
    ["Error", entry.error],
    ["Proxy", h("a", { href: links.proxyLink(entry.proxy) }, entry.proxy)],
    ["User", h("span", { class: "code-text" }, entry.remoteAddr)],
    ["Started", time(entry.startedAt / 1000)],
    ["First byte after", timing && milliseconds(timing.toFirstByte)],
    ["Duration", milliseconds(entry.duration)],
    ["Request", bytes(entry.requestSize)],
    ["Answer", bytes(entry.responseSize)],
    ["HTTP", entry.httpVersion],
    ["Replay of", entry.replayOf && h("a", { href: links.requestLink(entry.replayOf) }, `request ${entry.replayOf}`)],
    ["WebSocket", websocket && `${plural(websocket.received, "frame")} from the user, ${plural(websocket.sent, "frame")} to the user`],
  );
  return {
    title: `${entry.method} ${entry.path}`,
    content: [
      back("#/requests", "Requests"),
      h("div", { class: "heading" }, h("h1", { class: "request-title" }, h("span", {}, entry.method), " ", target(entry)), h("div", { class: "actions" }, curl, edit, again)),
      panel(null, about, timing && timingBar(timing)),
      h("div", { class: "columns two" }, message("Request", entry.request), message("Answer", entry.response)),
    ],
  };
}

function timingBar({ toFirstByte, total }) {
  if (!total) return null;
  const waiting = h("span", { class: "fill in" });
  waiting.style.setProperty("--part", String(Math.min(1, (toFirstByte ?? total) / total)));
  return h("p", { class: "timing", role: "img", "aria-label": `The first byte came after ${milliseconds(toFirstByte)} of ${milliseconds(total)}` }, h("span", { class: "bar" }, waiting));
}

function message(title, it) {
  if (!it) return panel(title, h("p", { class: "quiet-text" }, "There is none."));
  const rows = it.headers.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)));
  const headers = h("table", { class: "headers" }, h("caption", { class: "unseen" }, `Headers of the ${title.toLowerCase()}`), h("tbody", {}, rows));
  return panel(title, rows.length > 0 && headers, body(title, it));
}

const headerOf = (it, name) => it.headers.find(([key]) => key.toLowerCase() === name)?.[1] ?? "";

function body(title, it) {
  if (!it.body) return h("p", { class: "quiet-text" }, "No body.");
  const type = headerOf(it, "content-type").split(";")[0].trim().toLowerCase();
  const cut = it.truncated && h("p", { class: "quiet-text" }, "Only the beginning of the body is kept.");
  if (it.bodyEncoding === "base64") {
    const size = bytes(Math.floor((it.body.length * 3) / 4));
    const isImage = ["image/png", "image/jpeg", "image/gif", "image/webp"].includes(type) && !it.truncated && !headerOf(it, "content-encoding");
    const image = isImage && h("img", { class: "preview", alt: `The body of the ${title.toLowerCase()}`, src: `data:${type};base64,${it.body}` });
    return [cut, image || h("p", { class: "quiet-text" }, `${size} that are no text.`), button("Copy as base64", () => copy(it.body), "small")];
  }
  const text = pretty(it.body, type);
  const place = h("pre", { class: "code body", tabindex: "0", "aria-label": `Body of the ${title.toLowerCase()}` }, text);
  return [cut, place, button("Copy body", () => copy(it.body), "small")];
}

function pretty(text, type) {
  if (!type.includes("json") && !/^\s*[{[]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function replay(entry, changes) {
  const made = await post(`api/v2/requests/${part(entry.id)}/replay`, changes);
  notice(`Sent again: ${made.status || made.error}.`);
  location.hash = links.requestLink(made.id);
}

async function editAndReplay(entry) {
  const headers = entry.request.headers.filter(([name]) => name.toLowerCase() !== "content-length");
  const isText = entry.request.bodyEncoding !== "base64";
  const field = (label, input) => h("label", { class: "field" }, h("span", {}, label), input);
  const method = h("input", { value: entry.method, spellcheck: "false" });
  const path = h("input", { value: target(entry), spellcheck: "false" });
  const lines = h("textarea", { class: "code", rows: "6", spellcheck: "false", value: headers.map((it) => it.join(": ")).join("\n") });
  const text = h("textarea", { class: "code", rows: "6", spellcheck: "false", value: isText ? entry.request.body : "", disabled: !isText });
  const problem = h("p", { class: "field-error", role: "alert" });
  const form = h("div", { class: "stack" }, field("Method", method), field("Path", path), field("Headers, one a line", lines), field(isText ? "Body" : "Body (no text; it is sent as it was)", text), problem);
  const read = () => {
    const pairs = lines.value.split("\n").filter((it) => it.trim()).map((it) => [it.slice(0, it.indexOf(":")).trim(), it.slice(it.indexOf(":") + 1).trim()]);
    return { method: method.value.trim(), path: path.value.trim(), headers: pairs, ...(isText ? { body: text.value } : {}) };
  };
  const check = () => {
    const bad = lines.value.split("\n").find((it) => it.trim() && it.indexOf(":") < 1);
    const why = !path.value.startsWith("/") ? "The path has to begin with /." : bad ? `This is no header: ${bad}` : "";
    show(problem, why);
    return why === "";
  };
  const buttons = [
    { label: "Cancel", value: null },
    { label: "Send", value: true, kind: "primary", check },
  ];
  if (await dialog("Edit and replay", form, buttons)) await replay(entry, read());
}

/** The request as a line for a shell. */
function asCurl(entry) {
  const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
  const host = headerOf(entry.request, "host") || "localhost";
  const parts = ["curl", "-X", quote(entry.method), quote(`http://${host}${target(entry)}`)];
  for (const [name, value] of entry.request.headers) {
    if (!["host", "content-length", "connection", "transfer-encoding"].includes(name.toLowerCase())) parts.push("-H", quote(`${name}: ${value}`));
  }
  if (entry.request.body && entry.request.bodyEncoding !== "base64") parts.push("--data-binary", quote(entry.request.body));
  return parts.join(" ");
}
