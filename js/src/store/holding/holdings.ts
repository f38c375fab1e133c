/** What streams in: where a stream begins, what it brings, and what an absence has left out. */

import type { SseEvent } from "../../transport/splitter.ts";
import type { EndEvent, GapEvent, LogEvent, Problem, StatusEvent } from "../../types/events.ts";
import { fromNs, windowOf } from "../parsing/time.ts";
import { bound } from "./changes.ts";
import { rowsOf, type Watcher } from "./watcher.ts";
import type { Clock } from "./clock.ts";
import type { Held, Tasks } from "./held.ts";
import type { Receiver } from "./links.ts";
import type { Loader } from "./loader.ts";
import type { Surveys } from "./surveys.ts";

/** After a longer absence the window is asked for and not what came in between, which is there on demand. */
const ABSENCE = 600_000;
/** Pages of a hole that ends with the task: nothing more comes, so they are what is shown. */
const LAST_PAGES = 4;
/** A place so far back is still reached by a wider window, and an absence so long by the cursor. */
const REACH = 3_600_000;

export class Holdings implements Receiver {
  constructor(
    private readonly tasks: Tasks,
    private readonly loader: Loader,
    private readonly surveys: Surveys,
    private readonly clock: Clock,
    private readonly watcher: Watcher,
  ) {}

  // Where a stream begins

  cursorOf(task: string): string {
    const held = this.tasks.hold(task);
    held.stale = this.#isStale(held);
    return held.stale ? "" : held.store.cursor;
  }

  isEnded(task: string): boolean {
    return this.tasks.hold(task).store.ended || this.tasks.hold(task).problem !== null;
  }

  sinceOf(task: string): string {
    const held = this.tasks.hold(task);
    const [since, width] = this.#widest(task);
    held.coveredFrom = Math.min(held.coveredFrom, this.tasks.now() - width);
    return since;
  }

  #widest(task: string): [since: string, width: number] {
    let widest = "1m";
    let width = -1;
    for (const session of this.tasks.links.sessions.values()) {
      const window = windowOf(session.since) ?? Infinity;
      if (session.tasks.includes(task) && window > width) [widest, width] = [session.since, window];
    }
    const held = this.tasks.hold(task);
    const now = this.tasks.now();
    if (held.reach < Infinity && width < Infinity) {
      width = Math.max(width, now - held.reach);
      // As a time: by when a duration is answered, perhaps by a recorder that has to be started, it would not reach so far any more.
      widest = new Date(Math.floor(now - width)).toISOString();
    }
    return held.stale && width > REACH ? ["10m", ABSENCE] : [widest, width];
  }

  /** Away for longer than its views look back. */
  #isStale({ store, heardAt }: Held): boolean {
    const window = Math.max(this.#widest(store.task)[1], this.watcher.windowOf(store));
    return store.cursor !== "" && Date.now() - heardAt > Math.max(ABSENCE, Math.min(REACH, window));
  }

  onHeard(task: string): void {
    this.tasks.hold(task).heardAt = Date.now();
  }

  /** The stream begins with the window: what lies before that and after what is here becomes a row that loads it. */
  onLive(task: string): void {
    const held = this.tasks.hold(task);
    const { store } = held;
    if (held.stale) {
      const from = store.newest;
      const to = Math.max(from, this.tasks.now() - this.#widest(task)[1]);
      held.away = undefined;
      rowsOf(store, this.watcher).add(() => (held.away = store.addSpan({ from, to, low: from, high: to, lines: 0, newer: store.cursor, until: Infinity, onDemand: true })));
      store.cursor = "";
      held.stale = false;
    }
    held.heardAt = Date.now();
  }

  // What arrives

  onEvent({ event, data, id }: SseEvent, order: string[]): void {
    let parsed: { task?: string };
    try {
      parsed = JSON.parse(data) as { task?: string };
      const task = parsed.task ?? order[0];
      const held = this.tasks.get(task);
      if (event === "error") this.#problem(parsed as Problem, order);
      else if (held) this.#apply(event, parsed, held);
    } catch (reason) {
      console.error("[cortex-jupyter] an event could not be read", event, reason);
    }
    const cursors = id?.split(",") ?? [];
    if (cursors.length === order.length) for (const [i, task] of order.entries()) if (cursors[i] && this.tasks.get(task)) this.tasks.hold(task).store.cursor = cursors[i];
  }

  #apply(event: string, data: object, held: Held): void {
    const { store } = held;
    const before = store.rows;
    if (event === "log") {
      const { seq } = data as LogEvent;
      if (held.away !== undefined && store.spans.includes(held.away)) held.away.until = Math.min(held.away.until, seq);
      store.addLog(data as LogEvent);
    } else if (event === "status") {
      const { now } = data as StatusEvent;
      if (now) this.clock.nodes(fromNs(now));
      store.addStatus(data as StatusEvent);
      // The stream begins: is there anything that it leaves out?
      if ((data as StatusEvent).seq === undefined) void this.surveys.survey(store.task);
    } else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.watcher.taken(store, before);
    bound(held.store, this.watcher);
    if (event === "end") void this.#ended(held);
  }

  async #ended(held: Held): Promise<void> {
    const { store, away } = held;
    await held.surveying;
    await this.surveys.survey(store.task);
    const last = store.spans.at(-1);
    if (store.lines === 0 && last) await this.loader.back(store.task, last);
    else if (store.rows <= 1 && store.older) await this.loader.older(store.task);
    if (away?.until === Infinity) for (let i = 0; i < LAST_PAGES; i++) await this.loader.on(store.task, store.spans.find(({ onDemand }) => onDemand));
    await this.surveys.state(held);
  }

  #problem(problem: Problem, order: string[]): void {
    for (const task of problem.task ? [problem.task] : order) {
      const held = this.tasks.get(task);
      if (held && problem.task && problem.code === "CursorNotHeld") {
        this.onPlaceLost(task, problem);
      } else if (held && problem.task) held.problem = problem;
      else {
        const entry = this.tasks.links.of(task);
        if (entry) entry.problem = problem;
      }
    }
    console.error("[cortex-jupyter]", problem.code, problem.message);
    this.watcher.changed();
  }

  onPlaceLost(task: string, problem: Problem): void {
    this.onCursorLost([task], problem);
    this.tasks.linkOf(task)?.retry();
  }

  /** The recording is another one: the window is loaded anew, where somebody reads too if that is not too far back. */
  onCursorLost(tasks: string[], problem: Problem): void {
    const from = `${Math.round(this.tasks.now())}000000`;
    this.watcher.renewed(tasks, () => {
      for (const task of tasks) this.tasks.drop(task);
      for (const task of tasks) this.tasks.hold(task).store.addGap({ task, from, reason: `${problem.message}; the window was loaded anew` }, false);
    });
  }

  reachBack(task: string, place: number): void {
    const held = this.tasks.hold(task);
    if (this.tasks.now() - place < REACH) held.reach = Math.min(held.reach, place - 1000);
  }

  // What is asked for
}
