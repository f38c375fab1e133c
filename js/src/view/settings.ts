/** What can be set of a viewer, shared by all views of one model: read from Python's `query`, written back as `view`. */

import { windowOf } from "../store/time.ts";
import type { Filter, SourceSummary } from "../types.ts";

export interface Settings {
  filter: Filter;
  time: boolean;
  wrap: boolean;
}

export type Query = Partial<Record<"since" | "pod" | "container" | "stream" | "level" | "grep" | "exclude", string>> & {
  tail?: number;
  timestamps?: boolean;
  pretty?: boolean;
  fields?: string[];
};

export const DEFAULT_SINCE = "1m";

export function fromQuery(query: Query): Settings {
  const filter: Filter = {
    grep: query.grep ?? "",
    regex: false,
    exclude: query.exclude ? [query.exclude] : [],
    level: query.level ?? "",
    stream: query.stream ?? "",
    off: [],
    pod: query.pod ?? "",
    container: query.container ?? "",
    since: windowOf(query.since || DEFAULT_SINCE),
    tail: typeof query.tail === "number" ? query.tail : null,
    pretty: query.pretty ?? true,
    fields: query.fields ?? [],
  };
  return { filter, time: query.timestamps ?? true, wrap: false };
}

/** A word as a pattern; a /pattern/ is one already. */
function escaped(text: string): string {
  return /^\/(.+)\/$/.exec(text)?.[1] ?? text.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

/** The `view` trait: the filter as Python's own parameters, and which rows are in sight. */
export function asView({ filter, time }: Settings, since: string, sources: SourceSummary[], first: number | null, last: number | null): Record<string, unknown> {
  const on = sources.filter((source) => source.on);
  const all = on.length === sources.length;
  const [exclude, ...more] = filter.exclude;
  return {
    since,
    grep: filter.grep,
    regex: filter.regex,
    exclude: more.length > 0 ? `/${filter.exclude.map(escaped).join("|")}/` : (exclude ?? ""),
    level: filter.level,
    pods: all ? [] : [...new Set(on.map(({ pod }) => pod))],
    containers: all ? [] : [...new Set(on.map(({ container }) => container))],
    timestamps: time,
    first_seq: first,
    last_seq: last,
  };
}
