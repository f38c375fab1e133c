/** The messages between the page and the store. */

import type { Filter, Jump, Viewport } from "./requests.ts";
import type { TaskSummary, Update } from "./update.ts";

export interface PageConfig {
  /** `{baseUrl}cortex/`, absolute; empty where there is no server half to reach. */
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
  /** Whether anybody can see it: for what is out of sight nothing is done. */
  | { op: "visible"; view: string; isVisible: boolean }
  | { op: "loadOlder"; view: string }
  | { op: "loadSpan"; view: string; id: number }
  /** Go on with the search of what is not loaded, or stop it. */
  | { op: "search"; view: string; go: boolean }
  | { op: "toggleFold"; view: string; id: number }
  | { op: "text"; view: string; id: number; ask: number }
  | { op: "copy"; view: string; from: number; to: number; as: "text" | "json" | "code"; ask: number }
  | { op: "find"; view: string; term: string }
  | { op: "chart"; view: string; on: boolean }
  | { op: "jump"; view: string; jump: Jump }
  | { op: "close"; view: string }
  | { op: "retry"; model: string }
  /** The page was asleep, hidden or offline: what is open may be dead. */
  | { op: "wake" }
  | { op: "ping" };

export type FromStore =
  | Update
  /** Once a second while something goes on in sight: what it is at the nodes, for words that count up. */
  | { op: "clock"; now: number; origin?: string }
  | { op: "ready" }
  | { op: "pong" }
  | { op: "headers" }
  | { op: "send"; model: string; message: Record<string, unknown> }
  | { op: "summary"; tasks: TaskSummary[]; origin?: string }
  | ({ op: "text"; ask: number } & FullText);
