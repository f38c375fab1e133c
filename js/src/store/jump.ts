/** Finds the row that a jump leads to. The server searches the lines that are not loaded. */

import type { LogEvent } from "../protocol/events.ts";
import type { Jump } from "../protocol/requests.ts";
import type { RemoteJumpState as Said } from "../protocol/update.ts";
import { ERROR, levelMask, writeLevels } from "../text/level.ts";
import { pythonPattern } from "../text/query.ts";
import { fromNs, nsTimes } from "../text/time.ts";
import type { Link } from "../transport/link.ts";
import type { SseEvent } from "../transport/sseparser.ts";
import { NO_SOURCE, NOTICE } from "./lines.ts";
import { type RemoteQuery, type SearchProgress, toRange } from "./remotesearch.ts";
import type { Finder, Selection } from "./selection.ts";
import type { RowSequence } from "./sequence.ts";
import type { UnloadedSpan } from "./spans.ts";
import type { TaskStore } from "./taskstore.ts";

/** Return the row to go to; null if there is none. */
export function findDestination(to: Jump, selection: Selection, finder: Finder, low: number): number | null {
  const { shown } = selection;
  // Without find, the filter's matches count.
  const matches = finder.isActive || !selection.filtered ? finder.matches : selection.matched;
  if (shown.length === 0) return null;
  switch (to.to) {
    case "time":
      return shown.at(Math.min(shown.length - 1, shown.lowerBound((id) => selection.keyOf(id) < to.time)));
    case "row":
      return to.id;
    case "seq":
      return nearestSeq(selection, to.task, to.seq);
    case "match":
      return nextMatch(to.from, to.by, selection, matches, matches.lowerBound((id) => selection.keyOf(id) < low));
    case "error":
      return nextError(selection, to.from, to.by);
    case "death":
      return lastBeforeFailure(selection);
  }
}

/** Return the next match. At the end, continue at the other end as editors do. Skip notices, and matches before the window. */
function nextMatch(from: number | null, by: 1 | -1, selection: Selection, result: RowSequence, first: number): number | null {
  const length = result.length - first;
  if (length === 0) return null;
  const place = from === null ? (by > 0 ? 0 : length) : Math.max(0, result.indexFor(from) - first);
  const here = from !== null && place < length && result.at(first + place) === from;
  let next = by > 0 ? place + (here ? 1 : 0) : place - 1;
  for (let i = 0; i < length; i++, next += by) {
    const id = result.at(first + ((next + length) % length));
    if (!selection.isNotice(id)) return id;
  }
  return null;
}

function isError(selection: Selection, id: number): boolean {
  return selection.stores[selection.slotOf(id)].levelOf(selection.rowOf(id)) >= ERROR;
}

/** Return the next error. Consecutive errors count as one, so that a user does not step through a traceback line by line. */
function nextError(selection: Selection, from: number | null, by: 1 | -1): number | null {
  const { shown } = selection;
  let index = from === null ? (by > 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, shown.indexFor(from));
  if (from !== null) {
    while (index >= 0 && index < shown.length && isError(selection, shown.at(index))) index += by;
  }
  while (index >= 0 && index < shown.length && !isError(selection, shown.at(index))) index += by;
  if (index < 0 || index >= shown.length) return null;
  // Backwards, go on to the first of the consecutive errors.
  if (by < 0) while (index > 0 && isError(selection, shown.at(index - 1))) index--;
  return shown.at(index);
}

function nearestSeq(selection: Selection, task: string, seq: number): number | null {
  const { shown, stores } = selection;
  let best: number | null = null;
  let distance = Infinity;
  for (let index = 0; index < shown.length && distance > 0; index++) {
    const id = shown.at(index);
    const store = stores[selection.slotOf(id)];
    const away = Math.abs(store.seq[selection.rowOf(id)] - seq);
    if ((task === "" || store.task === task) && away < distance) [best, distance] = [id, away];
  }
  return best;
}

/** Return the last line of the container that failed last; if none failed, the last line of all. */
function lastBeforeFailure(selection: Selection): number | null {
  const { shown, stores } = selection;
  const ends = stores.flatMap((store) => store.marks).filter(({ kind, level }) => kind === "ended" && level >= ERROR);
  const last = ends.toSorted((a, b) => a.time - b.time).at(-1);
  let newest: number | null = null;
  for (let index = shown.length - 1; index >= 0; index--) {
    const id = shown.at(index);
    const store = stores[selection.slotOf(id)];
    const row = selection.rowOf(id);
    if (store.flags[row] & NOTICE || store.source[row] === NO_SOURCE) continue;
    newest ??= id;
    if (last === undefined || (selection.containerKeyOf(store, store.source[row]) === last.source && store.key[row] <= last.time)) return id;
  }
  return newest;
}

type DirectedJump = Extract<Jump, { by: 1 | -1 }>;

/** The unloaded spans of a task between the user's row and the next loaded match. */
export interface TaskSpans {
  store: TaskStore;
  spans: Pick<UnloadedSpan, "low" | "high">[];
}

/** The line that a jump leads to. It is not loaded. */
export interface JumpGoal {
  store: TaskStore;
  seq: number;
  time: number;
}

/** Return the next match or error among the loaded rows; null at the end. */
export function nextLoaded(to: DirectedJump, selection: Selection): number | null {
  const next = findDestination(to, selection, selection.finder, -Infinity);
  if (next === null || to.from === null) return next;
  return selection.compare(next, to.from) * to.by > 0 ? next : null;
}

/**
 * Return the unloaded spans that may contain the next match or error. `by` is a direction in time. Spans after `searchedTo` need
 * no search: the view's own search has covered them.
 */
export function spansBetween(to: DirectedJump, selection: Selection, searchedTo: number): TaskSpans[] {
  const { from, by } = to;
  if (from === null || from < 0 || selection.matcher.error !== "") return [];
  if (to.to === "match" && (!selection.finder.isActive || selection.finder.error !== "")) return [];
  const here = selection.keyOf(from);
  const next = nextLoaded(to, selection);
  const aim = next === null ? by * Infinity : selection.keyOf(next);
  // A search hit is shown without the lines around it, so the user's row may be in the middle of a span.
  const remaining = ({ low, high }: UnloadedSpan): Pick<UnloadedSpan, "low" | "high"> => (by > 0 ? { low: Math.max(low, here), high: Math.min(high, searchedTo) } : { low, high: Math.min(high, searchedTo, here) });
  const inWay = ({ low, high }: Pick<UnloadedSpan, "low" | "high">): boolean => low < high && (by > 0 ? high > here && low < aim : low < here && high > aim);
  return selection.stores.map((store) => ({ store, spans: store.spans.map(remaining).filter(inWay) })).filter(({ spans }) => spans.length > 0);
}

/** The part of a view that says which lines to search: its filter and its sources. */
interface Searchable {
  readonly selection: Selection;
  remoteQuery(store: TaskStore): RemoteQuery | null;
}

interface RemoteJumpHooks {
  linkOf(task: string): Link | undefined;
  /** A goal was found. */
  found(): void;
  /** There is no goal. */
  none(): void;
  changed(): void;
}

export class RemoteJump {
  #state: Said["state"] = "running";
  #to = Infinity;
  #message = "";
  #goal: JumpGoal | null = null;
  #searching: Set<TaskStore>;
  #stops = new Map<TaskStore, () => void>();

  readonly #view: Searchable;
  readonly #hooks: RemoteJumpHooks;

  constructor(
    readonly jump: DirectedJump,
    where: TaskSpans[],
    view: Searchable,
    hooks: RemoteJumpHooks,
  ) {
    this.#view = view;
    this.#hooks = hooks;
    this.#searching = new Set(where.map(({ store }) => store));
    for (const one of where) this.#ask(one, Math.max(...one.spans.map(({ high }) => high)));
  }

  /** The line that was found; null until all tasks have been searched. */
  get goal(): JumpGoal | null {
    return this.#searching.size === 0 ? this.#goal : null;
  }

  get summary(): Said {
    const { jump } = this;
    return { state: this.#state, to: this.#to, message: this.#message, what: jump.to === "match" ? "match" : "error", later: jump.by > 0 };
  }

  stop(): void {
    for (const stop of this.#stops.values()) stop();
    this.#searching.clear();
  }

  #ask({ store, spans }: TaskSpans, until: number): void {
    const query = this.#query(store);
    if (query === null) {
      this.#done(store);
      return;
    }
    const since = Math.min(...spans.map(({ low }) => low));
    const range = toRange(since, until);
    const stop = this.#hooks.linkOf(store.task)?.search(store.task, { ...query, ...range }, {
      event: (event) => this.#event({ store, spans }, event),
      end: (problem) => {
        if (problem !== undefined) this.#fail(problem.message);
        else this.#done(store);
      },
    });
    if (stop === undefined) this.#done(store);
    else this.#stops.set(store, stop);
  }

  /** Return the query for the next match or error among the lines that the view's filter shows. */
  #query(store: TaskStore): RemoteQuery | null {
    const query = this.#view.remoteQuery(store);
    if (query === null) return null;
    if (this.jump.to === "match") return { ...query, grep: [...query.grep, pythonPattern(this.#view.selection.finder.term)] };
    const level = writeLevels(levelMask(query.level ?? "") & levelMask("error"));
    return level === "" ? null : { ...query, level };
  }

  #event(one: TaskSpans, { event, data }: SseEvent): void {
    if (!this.#searching.has(one.store)) return;
    if (event === "error") this.#fail((JSON.parse(data) as { message: string }).message);
    else if (event === "log") {
      const best = this.#nearestLine(one, JSON.parse(data) as LogEvent);
      if (best === null) return;
      if (this.#goal === null || (best.time - this.#goal.time) * this.jump.by < 0) this.#goal = best;
      // The server sends the newest matches first. Backwards, the first one is the next.
      if (this.jump.by < 0) this.#done(one.store);
    } else if (event === "progress" || event === "done") {
      const { to, all } = JSON.parse(data) as SearchProgress;
      const time = fromNs(to);
      if (time < 8e15) this.#to = Math.min(this.#to, time);
      if (event === "done" && all) this.#done(one.store);
      else if (event === "done") {
        // The server stopped because there are many matches. The next one in time is before all of those.
        this.#stops.get(one.store)?.();
        this.#ask(one, time);
      }
      this.#hooks.changed();
    }
  }

  /** Return the first line of an event, in the direction of the jump, that is not loaded and whose source is shown. */
  #nearestLine({ store, spans }: TaskSpans, { seq, t0, dt, q, s, sources }: LogEvent): JumpGoal | null {
    let best: JumpGoal | null = null;
    const timeOf = nsTimes(t0);
    for (const [i, offset] of dt.entries()) {
      const time = timeOf(offset);
      const { run = 0, ...source } = sources[s[i]];
      if (!spans.some(({ low, high }) => time >= Math.floor(low) && time <= high + 1) || !this.#view.selection.wantsRun(store, { run, ...source })) continue;
      const number = seq + (q === undefined ? i : q[i]);
      if (store.isLoaded(number) || this.#isFrom(store, number)) continue;
      if (best === null || (time - best.time) * this.jump.by < 0) best = { store, seq: number, time };
    }
    return best;
  }

  /** Return whether the user is at this line. That is possible for a search hit, although its line is not loaded. */
  #isFrom(store: TaskStore, seq: number): boolean {
    const { selection } = this.#view;
    const { from } = this.jump;
    return from !== null && selection.stores[selection.slotOf(from)] === store && store.seq[selection.rowOf(from)] === seq;
  }

  #done(store: TaskStore): void {
    this.#stops.get(store)?.();
    if (!this.#searching.delete(store) || this.#searching.size > 0) return;
    if (this.#goal === null) {
      this.#state = "none";
      this.#hooks.none();
    } else this.#hooks.found();
    this.#hooks.changed();
  }

  #fail(message: string): void {
    this.stop();
    this.#goal = null;
    this.#state = "failed";
    this.#message = message;
    this.#hooks.changed();
  }
}
