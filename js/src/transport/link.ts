/** What the worker needs from a link to the recording, and what the link needs from the worker. There are two links: SSE and comm. */

import type { LogPage, OutlineDoc, Problem } from "../protocol/events.ts";
import type { LinkState } from "../protocol/update.ts";
import type { SseEvent } from "./sseparser.ts";

export interface Link {
  /** Open, reopen or close the stream, so that exactly these tasks stream. */
  update(tasks: string[]): void;
  /** Try again after a stop. */
  retry(): void;
  /** Reopen what is dead after timers and connections stood still, and end all waiting. */
  wake(): void;
  page(task: string, query: PageQuery): Promise<LogPage>;
  /** Return the outline of the whole recording. */
  outline(task: string, levels: boolean): Promise<OutlineDoc>;
  /** Search the whole recording, newest matches first. Return a function that stops it. */
  search(task: string, query: SearchQuery, sink: SearchSink): () => void;
  /** Read the metrics of the whole recording. Return a function that stops it. */
  metrics(task: string, sink: SearchSink): () => void;
  close(): void;
}

/** The server's query parameters. Regular expressions are Python's. */
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
  /** Nothing more follows. */
  end(problem?: Problem): void;
}

export interface PageQuery {
  before?: string;
  after?: string;
  /** Around this time (RFC 3339). */
  at?: string;
  until?: string;
  limit: number;
  since?: string;
}

/** A stream begins with at most this many lines of its window. The others are loaded when a user looks at them. */
export const MAX_FIRST_LINES = 20_000;
/** Number of bins of an outline. */
export const OUTLINE_BINS = 4000;

export interface LinkHost {
  cursorOf(task: string): string;
  sinceOf(task: string): string;
  isEnded(task: string): boolean;
  /** `order` is the order of the tasks in the request, which the parts of an event's id follow. */
  onEvent(event: SseEvent, order: string[]): void;
  /** Called after each chunk of bytes: the time to paint. */
  onChunk(): void;
  onState(state: LinkState, problem?: Problem): void;
  /** The cursor has expired: forget these tasks' lines and start over. */
  onCursorLost(tasks: string[], problem: Problem): void;
  /** A time (ms): the server's from an answer, or the nodes' from a heartbeat or a status. */
  onClock?(time: number, ofNodes?: boolean): void;
  /** Number of lines that wait at the server, which limits the rate. */
  onBehind?(lines: number): void;
}

export const SILENCE_MS = 45_000;

/** Codes after which trying again cannot help. */
const FATAL = /NotFound|NotAllowed|Forbidden|Unauthor|Ambiguous|Invalid|BadQuery|BadRequest|Unknown/;

export function isFatal(problem: Problem): boolean {
  return FATAL.test(problem.code);
}

export function joinCursors(tasks: string[], host: LinkHost): string {
  const cursors = tasks.map((task) => host.cursorOf(task));
  return cursors.some(Boolean) ? cursors.join(",") : "";
}

/** Return the widest window that one of the tasks without a cursor asks for. */
export function widestSince(tasks: string[], host: LinkHost, widthOf: (since: string) => number): string {
  let widest = "";
  for (const task of tasks) {
    if (host.cursorOf(task) !== "") continue;
    const since = host.sinceOf(task);
    if (widest === "" || widthOf(since) > widthOf(widest)) widest = since;
  }
  return widest;
}
