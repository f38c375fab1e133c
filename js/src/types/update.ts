/** What a view is sent. */

import type { Chart, Histogram } from "./chart.ts";
import type { Problem } from "./events.ts";
import type { Row } from "./rows.ts";
import type { RemoteJumpState, RemoteSearchState, SourceSummary, TaskSummary } from "./summary.ts";

export type LinkState = "connecting" | "live" | "reconnecting" | "waiting" | "stopped" | "done";

export interface Update {
  op: "update";
  view: string;
  total: number;
  first: number;
  shift: number;
  follow: boolean;
  /** Of these rows: the newest is row 0. */
  newestFirst: boolean;
  rows: Row[];
  tasks: TaskSummary[];
  lines: number;
  shown: number;
  filtered: boolean;
  /** Rows not searched yet. */
  searching: number;
  /** What is sought without filtering: rows that have it, and where among them the row is that was jumped to last (-1: nowhere). */
  find?: { count: number; at: number; searching: number; error: string };
  /** The row that was jumped to, once. */
  jump?: { row: number; id: number };
  /** What is said of the rest of the recording. */
  remote?: RemoteSearchState;
  beyond?: RemoteJumpState;
  rate: number;
  /** Changes when row ids mean other rows. */
  generation: number;
  /** The lines are others than before (a new recording); the reader was at this row. */
  seekRow?: number;
  /** How far the nodes' clock is ahead of the page's, ms. */
  clockAhead: number;
  newest: number;
  now: number;
  loading: boolean;
  link: LinkState;
  transport: "sse" | "comm";
  /** Lines that wait at the server, which sends only so much a second. */
  linesBehind: number;
  problem: Problem | null;
  filterError: string;
  sources?: SourceSummary[];
  histogram?: Histogram;
  /** Where one is shown and it has changed. */
  chart?: Chart;
}
