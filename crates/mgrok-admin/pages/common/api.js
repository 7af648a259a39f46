// Requests to the admin port that the page came from. Every address is relative, so the port may be behind a prefix.

/** Why a request did not get what it asked for, in words for a person. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

const WORDS = {
  0: "The program does not answer. Is it running?",
  401: "The user or the password is wrong, or was changed. Load the page again to give it.",
  404: "This is not there (any more).",
  405: "The program does not know this action.",
  412: "It was changed by somebody else in the meantime.",
  413: "This is too long.",
  429: "Too many wrong passwords were tried from here. Wait a little.",
  503: "The program is too busy with other pages. Close one of them.",
};

const BASE = new URL("../", document.baseURI);

/** The address of a route, with `query` behind it; what is `null` there is left out. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** Asks, and answers `{ data, text, etag }`: `data` without v2's envelope. Throws an `ApiError`. */
export async function request(method, path, { query, json, text, etag, signal } = {}) {
  const headers = {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  let response;
  let body;
  try {
    response = await fetch(address(path, query), {
      method,
      headers,
      body: json === undefined ? text : JSON.stringify(json),
      signal,
      cache: "no-store",
    });
    body = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, WORDS[0]);
  }
  let data;
  if ((response.headers.get("content-type") ?? "").includes("json")) {
    try {
      data = JSON.parse(body);
    } catch {
      throw new ApiError(response.status, "The program's answer cannot be read.");
    }
  }
  if (!response.ok) throw new ApiError(response.status, reason(response.status, data, body));
  const isV2 = path.replace(/^\//, "").startsWith("api/v2/");
  return { data: isV2 && data && "data" in data ? data.data : data, text: body, etag: response.headers.get("etag") };
}

function reason(status, data, body) {
  const said = data?.msg ?? data?.Msg ?? (data === undefined ? body.trim() : "");
  const known = WORDS[status];
  if ([401, 412, 429].includes(status)) return known;
  // Such a text is of the program that found no route, and helps nobody.
  if (!said || said === "404 page not found" || said.startsWith("<")) return known ?? `The program answered ${status}.`;
  return said;
}

/** What is at `path`. */
export const get = async (path, query, signal) => (await request("GET", path, { query, signal })).data;
/** Acts. */
export const post = async (path, json) => (await request("POST", path, { json })).data;
/** Deletes. */
export const remove = async (path, query) => (await request("DELETE", path, { query })).data;
/** A name as a part of a path. */
export const part = (name) => encodeURIComponent(name);
