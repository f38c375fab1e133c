/** What a reader wants to see: which lines, and where among them. */

/** What the view shows. `off` holds the keys of the sources that are switched off, or of single runs of them, `since` the window in milliseconds or null for all. */
export interface Filter {
  /** What is being typed, see store/asking/terms.ts. */
  grep: string;
  regex: boolean;
  /** Case counts in what is being typed. */
  matchCase: boolean;
  /** The chips: texts or /regexes/ that lines must, must not contain, and conditions on fields. */
  include: string[];
  exclude: string[];
  where: string[];
  level: string;
  stream: string;
  off: string[];
  /** Given from Python: only pods, containers and runs with these names, until the reader chooses. See store/asking/sources.ts. */
  pod: string;
  container: string;
  run: string;
  since: number | null;
  /** A fixed range in place of a window that ends now, ms. */
  from: number | null;
  until: number | null;
  tail: number | null;
  pretty: boolean;
  /** Fields that rows show of structured lines, in this order; none: all. */
  fields: string[];
  /** Equal lines that follow each other are one row: exactly equal ones, or those that differ in numbers only. */
  equalLines: "" | "exact" | "masked";
}

/** Where the reader's eyes are: rows [from, from+count), held in place by the row `anchor`, which was at `anchorIndex`. */
export interface Viewport {
  /** The time of the row to begin with, where somebody read before; in a view's first look. Null: the reader has moved since. */
  seek?: number | null;
  from: number;
  count: number;
  follow: boolean;
  /** The newest row on top. */
  newestFirst?: boolean;
  anchor: number | null;
  anchorIndex: number;
}

/** Where to go; `from` is the row that the reader is at. */
export type Jump =
  | { to: "time"; time: number }
  | { to: "row"; id: number }
  /** With its time also to a line that is not loaded. */
  | { to: "seq"; task: string; seq: number; time?: number }
  | { to: "match" | "error"; by: 1 | -1; from: number | null }
  /** The last line before the task died. */
  | { to: "death" };
