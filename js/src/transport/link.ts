/** What the store needs of a way to the recording, and what the way needs of the store. SSE and comm both are a Link. */

import type { LogPage, OutlineDoc, Problem } from "../protocol/events.ts";
import type { LinkState } from "../protocol/update.ts";
import type { SseEvent } from "./sseparser.ts";

export interface Link {
  /** Opens, reopens or closes so that exactly these tasks stream. */
  update(tasks: string[]): void;
  /** Tries again after a stop. */
  retry(): void;
  /** Timers and connections may have stood still: what is dead is opened again, what waits does so no longer. */
  wake(): void;
  page(task: string, query: PageQuery): Promise<LogPage>;
  /** How the lines of the whole recording are spread over time. */
  outline(task: string, levels: boolean): Promise<OutlineDoc>;
  /** A filter over the whole recording, newest matches first; answers how to stop it. */
  search(task: string, query: SearchQuery, sink: SearchSink): () => void;
  /** The numbers that the whole recording reports; answers how to stop it. */
  metrics(task: string, sink: SearchSink): () => void;
  close(): void;
}

/** As the server has them: regular expressions are Python's. */
export interface SearchQuery {
  grep: string[];
  exclude: string[];
  where: string[];
  level?: string;
  stream?: string;
  pod?: string;
  container?: string;
  run?: string;
  since: string;
  until: string;
}

export interface SearchSink {
  event(event: SseEvent): void;
  /** Nothing more comes. */
  end(problem?: Problem): void;
}

export interface PageQuery {
  before?: string;
  after?: string;
  /** Around this time, RFC 3339. */
  at?: string;
  until?: string;
  limit: number;
  since?: string;
}

/** A stream begins with about so many of its window's lines at most: the others come when somebody looks at them. */
export const MAX_FIRST_LINES = 20_000;
/** How finely the server counts. */
export const OUTLINE_BINS = 4000;

export interface LinkHost {
  cursorOf(task: string): string;
  sinceOf(task: string): string;
  isEnded(task: string): boolean;
  /** `order` is the order of the tasks in the request, to which the event's id is aligned. */
  onEvent(event: SseEvent, order: string[]): void;
  /** After each chunk of bytes: the time to paint. */
  onChunk(): void;
  onState(state: LinkState, problem?: Problem): void;
  /** The place is not held any more: forget what is here of these tasks and begin anew. */
  onCursorLost(tasks: string[], problem: Problem): void;
  /** Every answer of the server tells what time it is there; heartbeats and states what time it is at the nodes. */
  onClock?(time: number, ofNodes?: boolean): void;
  /** So many lines wait at the server, which slows the stream down. */
  onBehind?(lines: number): void;
}

export const SILENCE_MS = 45_000;

/** Codes after which asking again cannot help. */
const FATAL = /NotFound|NotAllowed|Forbidden|Unauthor|Ambiguous|Invalid|BadQuery|BadRequest|Unknown/;

export function isFatal(problem: Problem): boolean {
  return FATAL.test(problem.code);
}

export function joinCursors(tasks: string[], host: LinkHost): string {
  const cursors = tasks.map((task) => host.cursorOf(task));
  return cursors.some(Boolean) ? cursors.join(",") : "";
}

/** The widest window that one of the tasks without a cursor asks for. */
export function widestSince(tasks: string[], host: LinkHost, widthOf: (since: string) => number): string {
  let widest = "";
  for (const task of tasks) {
    if (host.cursorOf(task) !== "") continue;
    const since = host.sinceOf(task);
    if (widest === "" || widthOf(since) > widthOf(widest)) widest = since;
  }
  return widest;
}
