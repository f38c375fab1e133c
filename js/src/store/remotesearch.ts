/**
 * Applies a view's filter to lines that are not loaded. The server searches task by task, newest lines first, until all lines are
 * searched or the user stops it.
 */

import type { LogEvent } from "../protocol/events.ts";
import type { Filter } from "../protocol/requests.ts";
import type { ContainerSummary, RemoteSearchState } from "../protocol/update.ts";
import { filterTerms, pythonPattern } from "../text/query.ts";
import { boundedSourceQuery } from "../text/sources.ts";
import { fromNs } from "../text/time.ts";
import type { Link, SearchQuery } from "../transport/link.ts";
import type { SseEvent } from "../transport/sseparser.ts";
import type { TaskStore } from "./taskstore.ts";

export type RemoteQuery = Omit<SearchQuery, "since" | "until">;

/**
 * Return the filter as the server's query, for a task with these containers; null if none of them is shown. If the choice of
 * sources is too long for an address, the query has none.
 */
export function remoteQuery(filter: Filter, sources: readonly ContainerSummary[]): RemoteQuery | null {
  if (sources.length > 0 && !sources.some(({ on }) => on)) return null;
  const { include, exclude, where, level } = filterTerms(filter);
  return { grep: include.map(pythonPattern), exclude: exclude.map(pythonPattern), where, level: level || undefined, stream: filter.stream || undefined, ...boundedSourceQuery(filter, sources) };
}

export interface SearchProgress {
  to: string;
  all?: boolean;
}

interface SearchHooks {
  linkOf(task: string): Link | undefined;
  /** Called when matches have arrived. */
  found(store: TaskStore, event: LogEvent): void;
  changed(): void;
}

/** Return the range from one time (ms) to another as the server's parameters. */
export function toRange(since: number, until: number): Pick<SearchQuery, "since" | "until"> {
  return { since: new Date(Math.floor(since)).toISOString(), until: new Date(Math.floor(until) + 1).toISOString() };
}

export class RemoteSearch {
  state: RemoteSearchState["state"] = "running";
  /** Everything after this time has been searched (ms). */
  to = Infinity;
  message = "";
  #stop: () => void = () => {};
  /** Tasks that are still to be searched. Only lines before the time (ms) are left to search. */
  readonly #remaining: [store: TaskStore, until: number][];

  readonly #queryOf: (store: TaskStore) => RemoteQuery | null;
  /** Start of the window (ms). */
  readonly #low: number;
  readonly #hooks: SearchHooks;

  constructor(
    readonly stores: TaskStore[],
    queryOf: (store: TaskStore) => RemoteQuery | null,
    low: number,
    hooks: SearchHooks,
  ) {
    this.#queryOf = queryOf;
    this.#low = low;
    this.#hooks = hooks;
    this.#remaining = stores.filter(({ spans }) => spans.some(({ high }) => high > low)).map((store) => [store, Math.max(...store.spans.map(({ high }) => high))]);
    this.#next();
  }

  stop(): void {
    this.#stop();
    if (this.state === "running") this.state = "stopped";
  }

  /** Continue after a stop. */
  go(): void {
    if (this.state === "done" || this.state === "running") return;
    this.state = "running";
    this.#next();
  }

  #next(): void {
    const [next] = this.#remaining;
    const link = next && this.#hooks.linkOf(next[0].task);
    if (next === undefined || link === undefined) {
      this.state = next === undefined ? "done" : "stopped";
      this.#hooks.changed();
      return;
    }
    const [store, until] = next;
    const query = this.#queryOf(store);
    if (query === null) {
      this.#remaining.shift();
      this.#next();
      return;
    }
    const since = Math.max(this.#low, Math.min(...store.spans.map(({ low }) => low)));
    const range = toRange(since, until);
    this.#stop = link.search(store.task, { ...query, ...range }, {
      event: (event) => this.#event(store, event),
      end: (problem) => {
        if (this.state !== "running") return;
        if (problem === undefined) this.#next();
        else this.#fail(problem.message);
      },
    });
  }

  #event(store: TaskStore, { event, data }: SseEvent): void {
    if (this.state !== "running") return;
    if (event === "log") this.#hooks.found(store, JSON.parse(data) as LogEvent);
    else if (event === "error") this.#fail((JSON.parse(data) as { message: string }).message);
    else if (event === "progress" || event === "done") {
      const { to, all } = JSON.parse(data) as SearchProgress;
      const time = fromNs(to);
      if (time < 8e15) this.to = Math.min(this.to, time);
      this.#remaining[0][1] = Math.min(this.#remaining[0][1], this.to);
      if (event === "done" && all) {
        this.#remaining.shift();
        this.#stop();
        this.#next();
      }
      // The server stopped because there are many matches. The user can continue.
      else if (event === "done") this.state = "stopped";
      this.#hooks.changed();
    }
  }

  #fail(message: string): void {
    this.state = "failed";
    this.message = message;
    this.#stop();
    this.#hooks.changed();
  }
}
