/** A row as it is drawn. */

import type { RemoteSearchState } from "./summary.ts";

/** A piece of a row's text: from `at` to the next piece, drawn with a class or an ANSI style. */
export type StyleRun = [at: number, style: string];

export interface Row {
  id: number;
  kind: "line" | "notice" | "gap" | "hole" | "edge" | "blank";
  seq: number;
  time: number;
  source: number;
  level: number;
  text: string;
  runs: StyleRun[];
  marks: number[];
  /** Characters not sent, of a very long line. */
  hiddenChars: number;
  hasDetails: boolean;
  hint?: string;
  /** Rows below this one, shown or not. */
  fold?: "open" | "shut";
  /** It stands below the row of its traceback. */
  isNested?: boolean;
  /** What is said beside the text, dim. */
  aside?: string;
  /** Sources with the same traceback. */
  otherSources?: number[];
  /** Of equal lines: how many, and when the last was. */
  repeats?: number;
  lastTime?: number;
  /** How far a progress bar is, 0 to 1; -1 where it does not say. */
  bar?: number;
  /** Of the first row: the search that it tells of. */
  remote?: RemoteSearchState;
}
