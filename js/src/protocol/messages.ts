/** The messages between the page and the worker. */

import type { Problem } from "./events.ts";
import type { Filter, Jump, Viewport } from "./requests.ts";
import type { SavedRow, TaskSummary, Update } from "./update.ts";

export interface PageConfig {
  /** `{baseUrl}cortex/` as an absolute URL, or the address of one of several clusters; "" where the server extension is not available. */
  base: string;
  headers: Record<string, string>;
}

export type Transport = "auto" | "sse" | "comm";

/** The whole text of a line, and the fields of a structured line. Parsed in the worker, so that the page needs no parser. */
export interface FullText {
  text: string;
  fields: Record<string, unknown> | null;
}

export type ToStore =
  | { op: "config"; config: PageConfig }
  | { op: "subscribe"; model: string; tasks: string[]; transport: Transport; since: string; origin?: string }
  | { op: "unsubscribe"; model: string }
  | { op: "comm"; model: string; message: Record<string, unknown>; bytes?: Uint8Array }
  | { op: "view"; view: string; model: string; filter: Filter; viewport: Viewport; isVisible?: boolean }
  | { op: "filter"; view: string; filter: Filter }
  | { op: "viewport"; view: string; viewport: Viewport }
  | { op: "ack"; view: string }
  /** Whether the view can be seen. A view that cannot be seen is not updated. */
  | { op: "visible"; view: string; isVisible: boolean }
  | { op: "loadOlder"; view: string }
  | { op: "loadSpan"; view: string; id: number }
  /** Continue or stop the search in lines that are not loaded. */
  | { op: "search"; view: string; go: boolean }
  | { op: "toggleFold"; view: string; id: number }
  | { op: "text"; view: string; id: number; ask: number }
  | { op: "copy"; view: string; from: number; to: number; as: "text" | "json" | "code"; ask: number }
  /** Return the last displayed rows up to a row, or up to the newest one. */
  | { op: "lastRows"; view: string; to: number | null; most: number; ask: number }
  | { op: "find"; view: string; term: string }
  | { op: "chart"; view: string; on: boolean }
  /** The code for charts. A worker gets it once, after the first view that shows a chart. */
  | { op: "chartCode"; code: string }
  | { op: "jump"; view: string; jump: Jump }
  | { op: "close"; view: string }
  | { op: "retry"; model: string }
  /** The page was asleep, hidden or offline: open connections may be dead. */
  | { op: "wake" }
  | { op: "ping" };

/** What an engine of the worker handles: all but the code, which is for all engines. */
export type ToEngine = Exclude<ToStore, { op: "chartCode" }>;

export type FromStore =
  | Update
  /** Sent once a second while a visible task runs: the time at the nodes, for texts such as "running for 5 s". */
  | { op: "clock"; now: number; origin?: string }
  | { op: "ready" }
  /** The store could not be started. */
  | { op: "failed"; problem: Problem }
  | { op: "pong" }
  /** The code for charts could not be started. */
  | { op: "chartFailed"; reason: string }
  /** Sent before a regular expression of a view's filter, or of its find, runs. If no pong comes, the page knows which one hangs. */
  | { op: "testing"; view: string; find: boolean }
  | { op: "headers" }
  | { op: "send"; model: string; message: Record<string, unknown> }
  | { op: "summary"; tasks: TaskSummary[]; origin?: string }
  | ({ op: "text"; ask: number } & FullText)
  | { op: "rows"; ask: number; rows: SavedRow[] };
