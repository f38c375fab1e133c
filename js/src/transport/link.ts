/** The interface of a link, over which the worker reads recordings, and what a link calls back. There are two links: SSE and comm. */

import type { LogPage, OutlineDoc, Problem } from "../protocol/events.ts";
import type { LinkState } from "../protocol/update.ts";
import type { SseEvent } from "./sseparser.ts";

export interface Link {
  /** Set the tasks whose events the stream brings. Opens, reopens or closes the stream. */
  setTasks(tasks: string[]): void;
  /** Connect again after the link has stopped because of an error. */
  retry(): void;
  /** The page woke up, after sleep or in a throttled tab: replace a stream that has been silent for too long, and connect now if a retry is pending. */
  wake(): void;
  page(task: string, query: PageQuery): Promise<LogPage>;
  /** Return the outline of the whole recording. */
  outline(task: string, levels: boolean): Promise<OutlineDoc>;
  /** Search the whole recording, newest matches first. Return a function that stops it. */
  search(task: string, query: SearchQuery, sink: EventSink): () => void;
  /** Read the metrics of the whole recording. Return a function that stops it. */
  metrics(task: string, sink: EventSink): () => void;
  close(): void;
}

/** The server's query parameters. Regular expressions are in Python's syntax. */
export interface SearchQuery {
  grep: string[];
  exclude: string[];
  where: string[];
  level?: string;
  stream?: string;
  pod?: string;
  container?: string;
  role?: string;
  rank?: string;
  run?: string;
  attempt?: string;
  since: string;
  until: string;
}

export interface EventSink {
  event(event: SseEvent): void;
  /** The last event has come, or an error ended the answer. */
  end(problem?: Problem): void;
}

export interface PageQuery {
  before?: string;
  after?: string;
  /** Lines before and after this time (RFC 3339). */
  at?: string;
  until?: string;
  limit: number;
  since?: string;
}

/** Maximum number of lines of its window that a stream begins with. Older ones are loaded when a user scrolls to them. */
export const MAX_FIRST_LINES = 20_000;
/** Number of bins of an outline. */
export const OUTLINE_BINS = 4000;

/** What a link calls back: it asks for cursors and windows, and reports what arrives. */
export interface LinkHost {
  cursorOf(task: string): string;
  sinceOf(task: string): string;
  isEnded(task: string): boolean;
  /** `order` lists the tasks as in the request. An event's id holds one cursor for each task, in this order. */
  onEvent(event: SseEvent, order: string[]): void;
  /** Called after the events of each chunk of bytes. Views are updated then, not after each event. */
  onChunk(): void;
  onState(state: LinkState, problem?: Problem): void;
  /** The cursor has expired: forget these tasks' lines and start over. */
  onCursorLost(tasks: string[], problem: Problem): void;
  /** Reports a clock (ms): the server's, from the header of an HTTP answer, or (`ofNodes`) the nodes', from a heartbeat or a status. */
  onClock?(time: number, ofNodes?: boolean): void;
  /** Number of lines that this page does not have yet: the server limits the rate of the stream, or the kernel waits for acknowledgements. */
  onBehind?(lines: number): void;
}

/** A stream that brings nothing for this long, not even a heartbeat, is dead and is replaced. */
export const MAX_SILENCE_MS = 45_000;

/** A search, or a reading of metrics, without an event for this long counts as ended. The server ends one after 60 s without a result. */
export const MAX_SEARCH_SILENCE_MS = 90_000;

/** Call `onSilence` once nothing has been heard for `ms`. */
export class SilenceTimer {
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #ms: number;
  readonly #onSilence: () => void;

  constructor(ms: number, onSilence: () => void) {
    this.#ms = ms;
    this.#onSilence = onSilence;
    this.heard();
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#onSilence, this.#ms);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** Codes of problems that another attempt would meet again. */
const FATAL = /NotFound|Deleted|NotAllowed|Forbidden|Unauthor|Ambiguous|Invalid|BadQuery|BadRequest|Unknown/;

export function isFatal(problem: Problem): boolean {
  return FATAL.test(problem.code);
}

export function joinCursors(tasks: string[], host: LinkHost): string {
  const cursors = tasks.map((task) => host.cursorOf(task));
  return cursors.some(Boolean) ? cursors.join(",") : "";
}

/** Return the `since` with the longest window among the tasks that have no cursor; "" if all have one. */
export function widestSince(tasks: string[], host: LinkHost, durationOf: (since: string) => number): string {
  let widest = "";
  for (const task of tasks) {
    if (host.cursorOf(task) !== "") continue;
    const since = host.sinceOf(task);
    if (widest === "" || durationOf(since) > durationOf(widest)) widest = since;
  }
  return widest;
}
