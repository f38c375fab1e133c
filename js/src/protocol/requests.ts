/** What a user wants to see: which lines, and where among them. */

/**
 * Which lines a view shows. `off` holds the keys of containers, or of single runs, that are hidden; `since` is the window (ms),
 * null for everything.
 */
export interface Filter {
  /** The text being typed, see text/query.ts. */
  grep: string;
  regex: boolean;
  /** The text being typed is case-sensitive. */
  matchCase: boolean;
  /** The chips: texts or /regexes/ that a line must or must not contain, and conditions on its fields. */
  include: string[];
  exclude: string[];
  where: string[];
  level: string;
  stream: string;
  /** Number of lines to show before and after each match. */
  around: number;
  off: string[];
  /** Set from Python: only these sources, until the user chooses others in the viewer. See text/sources.ts. */
  pod: string;
  container: string;
  role: string;
  rank: string;
  run: string;
  attempt: string;
  since: number | null;
  /** A fixed range in place of a window that ends now (ms). Without `until` its end is open. */
  from: number | null;
  until: number | null;
  tail: number | null;
  pretty: boolean;
  /** Fields of structured lines that rows show, in this order; empty for all. */
  fields: string[];
  /** Fold consecutive equal lines into one row: exactly equal lines, or lines that differ only in numbers. */
  equalLines: "" | "exact" | "masked";
  /** What the bars of the time axis tell apart. */
  split: "" | "level" | "pod";
}

/** The visible rows [from, from + count). The row `anchor`, which was at `anchorIndex`, stays where it is on the screen. */
export interface Viewport {
  /** In the first viewport after a reload: the time of the row that was at the top. Null: the user has scrolled since. */
  seek?: number | null;
  from: number;
  count: number;
  follow: boolean;
  /** The newest row is on top. */
  newestFirst?: boolean;
  anchor: number | null;
  anchorIndex: number;
}

/** Where to jump. `from` is the row that the user is at. */
export type Jump =
  | { to: "time"; time: number }
  | { to: "row"; id: number }
  /** If `time` is given, the line need not be loaded. */
  | { to: "seq"; task: string; seq: number; time?: number }
  | { to: "match" | "error"; by: 1 | -1; from: number | null }
  /** The last line before the task failed. */
  | { to: "death" };
