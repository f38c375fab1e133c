/** The settings of a viewer as an address, and back: what is in it can be sent to somebody, and reloaded. */

import type { PlainSettings } from "../view/settings.ts";

const LISTS = new Set(["grep", "exclude", "where", "off", "fields", "columns"]);
const FLAGS = new Set(["regex", "match_case", "timestamps", "pretty", "wrap", "newest_first", "chart_log"]);
const NUMBERS = new Set(["tail", "font_size"]);
const TEXTS = new Set(["since", "until", "pod", "container", "run", "stream", "level", "typed", "time", "at", "chart"]);

/** A place in the log besides the settings: the time of the first row in sight, where somebody reads. */
export type Address = PlainSettings & { at?: string };

/** What is not one of ours is left alone. */
export function parseAddress(search: URLSearchParams): Address {
  const plain: Record<string, unknown> = {};
  for (const name of new Set(search.keys())) {
    if (LISTS.has(name)) plain[name] = search.getAll(name);
    else if (FLAGS.has(name)) plain[name] = search.get(name) !== "false";
    else if (NUMBERS.has(name)) plain[name] = Number(search.get(name)) || 0;
    else if (TEXTS.has(name)) plain[name] = search.get(name);
  }
  return plain as Address;
}

/** The tasks first, then what differs from the default. */
export function formatAddress(tasks: string[], view: Record<string, unknown>): URLSearchParams {
  const search = new URLSearchParams(tasks.map((task) => ["task", task]));
  for (const [name, value] of Object.entries(view)) {
    if (LISTS.has(name)) for (const one of [value].flat()) search.append(name, String(one));
    else if ((FLAGS.has(name) || NUMBERS.has(name) || TEXTS.has(name)) && value !== "" && value !== undefined && value !== null) search.set(name, String(value));
  }
  return search;
}
