// Numbers and times as people read them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes, with three digits. */
export function bytes(count) {
  let value = Number(count) || 0;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes in a second. */
export const rate = (count) => `${bytes(count)}/s`;

const NUMBER = new Intl.NumberFormat("en");
/** A number of things. */
export const number = (count) => NUMBER.format(Number(count) || 0);

/** `1 client`, `2 clients`, `no clients`. */
export function plural(count, word, words = `${word}s`) {
  return `${count ? number(count) : "no"} ${count === 1 ? word : words}`;
}

/** How long `seconds` are. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

/** How long ago `at` (Unix seconds) was. */
export const age = (at) => (at ? span(Date.now() / 1000 - at) : "");

const TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
/** A time (Unix seconds) here. */
export const time = (at) => (at ? TIME.format(at * 1000) : "");

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
/** The time of day of `at` (Unix milliseconds). */
export const clock = (at) => (at ? CLOCK.format(at) : "");

/** Milliseconds. */
export const milliseconds = (ms) => (ms >= 10000 ? span(ms / 1000) : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms ?? 0)} ms`);
