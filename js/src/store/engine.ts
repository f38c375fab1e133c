/** The store's side of the page: links in, views out. Runs in a worker, or in the page where workers are forbidden. */

import { CommLink } from "../transport/comm.ts";
import type { Host, Link } from "../transport/link.ts";
import { PageError } from "../transport/page.ts";
import type { SseEvent } from "../transport/splitter.ts";
import { SseLink } from "../transport/sse.ts";
import type { EndEvent, FromStore, GapEvent, LinkState, LogEvent, PageConfig, Problem, StatusEvent, TaskSummary, ToStore, Transport } from "../types.ts";
import { gapText } from "./notice.ts";
import { GAP, HOLE, TaskStore } from "./store.ts";
import { fromNs, sinceOf, windowOf } from "./time.ts";
import { View } from "./view.ts";

const PAGE_LINES = 2000;
const AUTO_PAGES = 25;
const KEEP = 5000;
const SUMMARY_EVERY = 500;
const TICK = 1000;
/** After a longer absence the window is asked for and not what came in between, which is there on demand. */
const ABSENCE = 600_000;
const HOLE_LINES = 5000;
/** Pages of a hole that ends with the task: nothing more comes, so they are what is shown. */
const LAST_PAGES = 4;
/** A place so far back is still reached by a wider window, and an absence so long by the cursor. */
const REACH = 3_600_000;
/** Ticks that are so far apart: the machine slept. */
const SLEPT = 30_000;
const LISTED = 50;
/** Of so many measurements of the clock the greatest holds: each is late by its way here. */
const CLOCKS = 8;

interface Session {
  tasks: string[];
  transport: Transport;
  since: string;
}

interface LinkEntry {
  link: Link;
  kind: "sse" | "comm";
  tasks: string[];
  state: LinkState;
  problem: Problem | null;
}

interface Held {
  store: TaskStore;
  /** Everything from this time on is here. */
  coveredFrom: number;
  loading: boolean;
  autoPages: number;
  problem: Problem | null;
  /** When the link last was known to be alive: everything before that is here. */
  heardAt: number;
  /** Whether the last request asked for the window in place of what follows the cursor. */
  stale: boolean;
  /** Begin at least here, whatever the window: somebody was reading there. */
  reach: number;
}

export class Engine {
  #config: PageConfig = { base: "", headers: {} };
  #sseAbsent = false;
  #clockOffset: number | undefined;
  #clocks: number[] = [];
  #ticked = Date.now();
  readonly #sessions = new Map<string, Session>();
  readonly #held = new Map<string, Held>();
  readonly #links = new Map<string, LinkEntry>();
  readonly #views = new Map<string, View>();
  #searching = false;
  #summaryDue = false;
  readonly #tick: ReturnType<typeof setInterval>;

  constructor(
    private readonly post: (message: FromStore) => void,
    /** Whether a watchdog can end us when a regex runs away. */
    private readonly guarded: boolean,
    private readonly fetcher?: typeof fetch,
  ) {
    this.#tick = setInterval(() => this.#second(), TICK);
  }

  stop(): void {
    clearInterval(this.#tick);
    for (const { link } of this.#links.values()) link.close();
  }

  receive(message: ToStore): void {
    switch (message.op) {
      case "config":
        this.#config = message.config;
        break;
      case "subscribe":
        this.#sessions.set(message.model, message);
        for (const task of message.tasks) this.#hold(task);
        this.#assign();
        break;
      case "unsubscribe":
        this.#sessions.delete(message.model);
        this.#assign();
        setTimeout(() => this.#release(), KEEP);
        break;
      case "comm": {
        const link = this.#links.get(message.model)?.link;
        if (link instanceof CommLink) link.receive(message.message, message.bytes);
        break;
      }
      case "view":
        this.#views.set(message.view, new View(message.view, message.model, this.#storesOf(message.model), message.filter, message.look));
        this.#changed(this.#views.get(message.view));
        this.#search();
        break;
      case "close":
        this.#views.delete(message.view);
        break;
      case "retry":
        for (const task of this.#sessions.get(message.model)?.tasks ?? []) {
          const held = this.#held.get(task);
          if (held) held.problem = null;
          this.#linkOf(task)?.link.retry();
        }
        break;
      case "wake":
        for (const { link } of this.#links.values()) link.wake();
        break;
      case "ping":
        this.post({ op: "pong" });
        break;
      default:
        this.#forView(message);
    }
  }

  #forView(message: Extract<ToStore, { view: string }>): void {
    const view = this.#views.get(message.view);
    if (view === undefined) return;
    if (message.op === "filter") {
      view.refilter(message.filter);
      for (const task of this.#sessions.get(view.model)?.tasks ?? []) this.#held.get(task)!.autoPages = 0;
      this.#search();
      this.#loadForWindow(view);
    } else if (message.op === "look") {
      if (message.look.follow && !view.look.follow) view.extended = false;
      if (message.look.follow) view.seek = null;
      view.look = message.look;
    } else if (message.op === "ack") {
      view.waiting = false;
      if (view.dirty) this.#flush(view);
      return;
    } else if (message.op === "older") {
      view.extended = true;
      for (const store of view.selection.stores) void this.#older(store.task);
    } else if (message.op === "hole") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      if (store) void this.#fill(store.task, 1);
    } else if (message.op === "text") {
      const store = view.selection.stores[view.selection.slotOf(message.id)];
      this.post({ op: "text", ask: message.ask, text: store?.texts[view.selection.rowOf(message.id)] ?? "" });
      return;
    }
    this.#changed(view);
  }

  // Links and tasks

  #hold(task: string): Held {
    let held = this.#held.get(task);
    if (held === undefined) {
      held = { store: new TaskStore(task), coveredFrom: Infinity, loading: false, autoPages: 0, problem: null, heardAt: Date.now(), stale: false, reach: Infinity };
      this.#held.set(task, held);
    }
    return held;
  }

  #storesOf(model: string): TaskStore[] {
    return (this.#sessions.get(model)?.tasks ?? []).map((task) => this.#hold(task).store);
  }

  #release(): void {
    const wanted = new Set([...this.#sessions.values()].flatMap((session) => session.tasks));
    for (const task of this.#held.keys()) if (!wanted.has(task)) this.#held.delete(task);
  }

  #kindOf(session: Session): "sse" | "comm" {
    if (session.transport !== "auto") return session.transport;
    return this.#config.base === "" || this.#sseAbsent ? "comm" : "sse";
  }

  /** Each task streams over one link: the page's connection, or the comm of the first model that wants it. */
  #assign(): void {
    const wanted = new Map<string, string[]>();
    const taken = new Set<string>();
    for (const [model, session] of this.#sessions) {
      const kind = this.#kindOf(session);
      const name = kind === "sse" ? "sse" : model;
      if (!this.#links.has(name)) this.#links.set(name, this.#link(name, kind));
      for (const task of session.tasks) if (!taken.has(task)) wanted.set(name, [...(wanted.get(name) ?? []), task]);
      for (const task of session.tasks) taken.add(task);
    }
    for (const [name, entry] of this.#links) {
      const tasks = wanted.get(name) ?? [];
      if (tasks.join(" ") !== entry.tasks.join(" ")) {
        entry.tasks = tasks;
        if (entry.kind === "sse" && this.#config.base === "") this.#absent(entry);
        else entry.link.update(tasks);
      }
      if (tasks.length === 0 && name !== "sse") {
        entry.link.close();
        this.#links.delete(name);
      }
    }
  }

  #link(name: string, kind: "sse" | "comm"): LinkEntry {
    const host: Host = {
      cursorOf: (task) => {
        const held = this.#hold(task);
        held.stale = this.#isStale(held);
        return held.stale ? "" : held.store.cursor;
      },
      sinceOf: (task) => this.#sinceOf(task),
      isEnded: (task) => this.#hold(task).store.ended || this.#hold(task).problem !== null,
      onEvent: (event, order) => this.#event(event, order),
      onChunk: () => {
        for (const task of entry.tasks) this.#hold(task).heardAt = Date.now();
        this.#changed();
      },
      onState: (state, problem) => {
        if (state === "live") for (const task of entry.tasks) this.#leaveOut(task);
        entry.state = state;
        entry.problem = problem ?? null;
        if (state === "reconnecting") this.post({ op: "headers" });
        this.#changed();
      },
      onCursorLost: (tasks, problem) => this.#startAnew(tasks, problem),
      onClock: (time, ofNodes) => (ofNodes ? this.#clock(time) : (this.#clockOffset = time + 500 - Date.now())),
    };
    const link =
      kind === "comm"
        ? new CommLink(host, (message) => this.post({ op: "send", model: name, message }))
        : new SseLink(host, () => this.#config, () => this.#absent(entry), this.fetcher);
    const entry: LinkEntry = { link, kind, tasks: [], state: "connecting", problem: null };
    return entry;
  }

  #absent(entry: LinkEntry): void {
    this.#sseAbsent = true;
    entry.state = "stopped";
    entry.problem = { code: "NoServer", message: "This Jupyter server has no cortex-jupyter extension", hint: "Install cortex-jupyter where Jupyter Server runs, or use transport='comm'." };
    this.#assign();
    this.#changed();
  }

  #linkOf(task: string): LinkEntry | undefined {
    for (const entry of this.#links.values()) if (entry.tasks.includes(task)) return entry;
    return undefined;
  }

  #sinceOf(task: string): string {
    const held = this.#hold(task);
    const [since, width] = this.#widest(task);
    held.coveredFrom = Math.min(held.coveredFrom, this.#now() - width);
    return since;
  }

  #widest(task: string): [since: string, width: number] {
    let widest = "1m";
    let width = -1;
    for (const session of this.#sessions.values()) {
      const window = windowOf(session.since) ?? Infinity;
      if (session.tasks.includes(task) && window > width) [widest, width] = [session.since, window];
    }
    const held = this.#hold(task);
    if (this.#now() - held.reach > width) {
      width = this.#now() - held.reach;
      widest = sinceOf(width);
    }
    return held.stale && width > REACH ? ["10m", ABSENCE] : [widest, width];
  }

  /** Away for longer than its views look back. */
  #isStale({ store, heardAt }: Held): boolean {
    let [, window] = this.#widest(store.task);
    for (const { selection } of this.#views.values()) if (selection.stores.includes(store)) window = Math.max(window, selection.filter.since ?? 0);
    return store.cursor !== "" && Date.now() - heardAt > Math.max(ABSENCE, Math.min(REACH, window));
  }

  /** The stream begins with the window: what lies before that and after what is here becomes a row that loads it. */
  #leaveOut(task: string): void {
    const held = this.#hold(task);
    const { store } = held;
    if (held.stale) {
      const from = store.newest;
      const to = Math.max(from, this.#now() - this.#widest(task)[1]);
      // Two absences are one hole: what is here of it is not taken twice.
      this.#dig(store, store.hole?.after ?? store.cursor, store.hole?.from ?? from, to);
      store.cursor = "";
      held.stale = false;
    }
    held.heardAt = Date.now();
  }

  #dig(store: TaskStore, after: string, from: number, to: number, until?: number): void {
    this.#close(store);
    const before = store.rows;
    store.addHole(after, from, to, until);
    this.#taken(store, before);
  }

  #close(store: TaskStore): void {
    if (store.hole === null) return;
    const { row } = store.hole;
    store.hole = null;
    // Both flags at once: a view made later leaves it out, too.
    store.flags[row] |= GAP | HOLE;
    for (const view of this.#views.values()) view.selection.drop(store, row);
  }

  /** Loads what was left out, oldest lines first. */
  async #fill(task: string, pages: number): Promise<void> {
    const held = this.#held.get(task);
    const link = this.#linkOf(task)?.link;
    if (!held || !link || held.loading) return;
    const { store } = held;
    const older = store.older;
    held.loading = true;
    this.#changed();
    try {
      for (let i = 0; i < pages && store.hole !== null; i++) {
        const { after, from, to, until } = store.hole;
        const page = await link.page(task, { after, limit: HOLE_LINES, since: "all" });
        const before = store.rows;
        store.addPage(page);
        this.#taken(store, before);
        const last = page.records.at(-1);
        const reached = Math.max(-1, ...page.records.map(({ seq }) => seq));
        if (!page.newer || page.records.length === 0 || reached >= until) this.#close(store);
        else this.#dig(store, page.newer, Math.max(from, last ? Date.parse(last.time) : from), to, until);
      }
    } catch (reason) {
      this.#failed(task, reason);
    }
    store.older = older;
    held.loading = false;
    this.#changed();
  }

  // What arrives

  #event({ event, data, id }: SseEvent, order: string[]): void {
    let parsed: { task?: string };
    try {
      parsed = JSON.parse(data) as { task?: string };
      const task = parsed.task ?? order[0];
      const held = this.#held.get(task);
      if (event === "error") this.#problem(parsed as Problem, order);
      else if (held) this.#apply(event, parsed, held);
    } catch (reason) {
      console.error("[cortex-jupyter] an event could not be read", event, reason);
    }
    const cursors = id?.split(",") ?? [];
    if (cursors.length === order.length) for (const [i, task] of order.entries()) if (cursors[i] && this.#held.has(task)) this.#hold(task).store.cursor = cursors[i];
  }

  #apply(event: string, data: object, held: Held): void {
    const { store } = held;
    const before = store.rows;
    if (event === "log") {
      const { seq } = data as LogEvent;
      if (store.hole !== null) store.hole.until = Math.min(store.hole.until, seq);
      store.addLog(data as LogEvent);
    } else if (event === "status") {
      const { now } = data as StatusEvent;
      if (now) this.#clock(fromNs(now));
      store.addStatus(data as StatusEvent);
    } else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.#taken(store, before);
    if (event === "end") void this.#ended(store);
  }

  async #ended(store: TaskStore): Promise<void> {
    if (store.rows <= 1 && store.older) await this.#older(store.task);
    if (store.hole?.until === Infinity) await this.#fill(store.task, LAST_PAGES);
    try {
      const page = await this.#linkOf(store.task)?.link.page(store.task, { limit: 1, since: "all" });
      store.complete = page?.complete ?? null;
      this.#changed();
    } catch (reason) {
      // The statement is missing then; the lines are here.
      console.warn("[cortex-jupyter] the completeness statement could not be read", reason);
    }
  }

  #taken(store: TaskStore, before: number): void {
    for (const view of this.#views.values()) view.selection.take(store, before, store.rows);
    this.#search();
  }

  #problem(problem: Problem, order: string[]): void {
    for (const task of problem.task ? [problem.task] : order) {
      const held = this.#held.get(task);
      if (held && problem.task && problem.code === "CursorNotHeld") {
        this.#startAnew([task], problem);
        this.#linkOf(task)?.link.retry();
      } else if (held && problem.task) held.problem = problem;
      else {
        const entry = this.#linkOf(task);
        if (entry) entry.problem = problem;
      }
    }
    console.error("[cortex-jupyter]", problem.code, problem.message);
  }

  #startAnew(tasks: string[], problem: Problem): void {
    const from = `${Math.round(this.#now())}000000`;
    const places = new Map([...this.#views.values()].map((view) => [view.id, view.placeTime()]));
    for (const task of tasks) this.#held.delete(task);
    for (const task of tasks) this.#hold(task).store.addGap({ task, from, reason: `${problem.message}; the window was loaded anew` }, false);
    for (const view of this.#views.values()) {
      const { look, selection, model, id } = view;
      if (!selection.stores.some((store) => tasks.includes(store.task))) continue;
      const anew = new View(id, model, this.#storesOf(model), selection.filter, { ...look, anchor: null });
      anew.waiting = view.waiting;
      anew.seek = look.follow ? null : (places.get(id) ?? null);
      anew.extended = view.extended;
      anew.low = view.low;
      anew.generation = view.generation + 1;
      this.#views.set(id, anew);
      // Where it is not too far back, the window reaches to where somebody reads.
      if (anew.seek !== null && this.#now() - anew.seek < REACH) for (const task of tasks) this.#hold(task).reach = Math.min(this.#hold(task).reach, anew.seek - 1000);
    }
    this.#changed();
  }

  // Older lines

  async #older(task: string): Promise<void> {
    const held = this.#held.get(task);
    const link = this.#linkOf(task)?.link;
    if (!held || !link || held.loading || !held.store.older) return;
    held.loading = true;
    this.#changed();
    try {
      const page = await link.page(task, { before: held.store.older, limit: PAGE_LINES, since: "all" });
      const before = held.store.rows;
      held.store.addPage(page);
      held.coveredFrom = Math.min(held.coveredFrom, ...page.records.map((record) => Date.parse(record.time)));
      if (held.store.older === null) held.coveredFrom = -Infinity;
      this.#taken(held.store, before);
    } catch (reason) {
      this.#failed(task, reason);
    }
    held.loading = false;
    this.#changed();
    for (const view of this.#views.values()) if (view.selection.stores.includes(held.store)) this.#loadForWindow(view);
  }

  #failed(task: string, reason: unknown): void {
    const entry = this.#linkOf(task);
    const text = reason instanceof Error ? reason.message : String(reason);
    if (entry) entry.problem = reason instanceof PageError ? reason.problem : { code: "PageFailed", message: `Lines could not be loaded: ${text}` };
  }

  /** A window wider than what is here asks for pages until it is covered; "all" asks as the reader scrolls. */
  #loadForWindow(view: View): void {
    const { since } = view.selection.filter;
    for (const store of view.selection.stores) {
      const held = this.#held.get(store.task);
      if (!held || !store.older || held.autoPages >= (since === null ? 1 : AUTO_PAGES)) continue;
      if (since !== null && held.coveredFrom <= this.#now() - since) continue;
      held.autoPages++;
      void this.#older(store.task);
    }
  }

  // What goes out

  #clock(nodes: number): void {
    this.#clocks.push(nodes - Date.now());
    if (this.#clocks.length > CLOCKS) this.#clocks.shift();
  }

  /** The time at the nodes, which is that of the lines. */
  #now(): number {
    const newest = Math.max(0, ...[...this.#held.values()].map(({ store }) => store.newest));
    const offset = this.#clocks.length > 0 ? Math.max(...this.#clocks) : this.#clockOffset;
    return offset === undefined ? newest || Date.now() : Math.max(newest, Date.now() + offset);
  }

  #changed(only?: View): void {
    for (const view of only ? [only] : this.#views.values()) {
      view.dirty = true;
      if (!view.waiting) this.#flush(view);
    }
    if (this.#summaryDue) return;
    this.#summaryDue = true;
    setTimeout(() => {
      this.#summaryDue = false;
      this.post({ op: "summary", tasks: [...this.#held.keys()].map((task) => this.#summary(task)) });
    }, SUMMARY_EVERY);
  }

  #summary(task: string): TaskSummary {
    const { complete, ended, exit, gaps, gapLines, lines, message, state } = this.#hold(task).store;
    const missing = complete ? complete.gaps.map((gap) => ({ text: gapText(gap), hint: gap.hint ?? "" })) : gaps;
    return { task, complete, ended, exit, gaps: missing.length, missing: missing.slice(0, LISTED), gapLines, lines, message, state };
  }

  #surroundings(view: View): Parameters<View["update"]>[0] {
    const tasks = this.#sessions.get(view.model)?.tasks ?? [];
    const held = tasks.map((task) => this.#hold(task));
    const entry = tasks.length > 0 ? this.#linkOf(tasks[0]) : undefined;
    const live = held.some(({ store }) => !store.ended);
    const done = !live && held.length > 0;
    const problem = held.find((one) => one.problem !== null)?.problem ?? (done && entry?.state !== "stopped" ? null : (entry?.problem ?? null));
    const rest = { link: done ? ("done" as const) : (entry?.state ?? "connecting"), transport: entry?.kind ?? "comm", problem, ahead: this.#clocks.length > 0 ? Math.max(...this.#clocks) : 0, tasks: tasks.map((task) => this.#summary(task)) };
    return { now: this.#now(), live, loading: held.some((one) => one.loading), rest };
  }

  #flush(view: View): void {
    view.dirty = false;
    view.waiting = true;
    const update = view.update(this.#surroundings(view));
    if (view.selection.tooSlow) update.filterError = `stopped, too slow: ${view.selection.tooSlow}`;
    this.post(update);
  }

  #second(): void {
    const slept = Date.now() - this.#ticked > SLEPT;
    this.#ticked = Date.now();
    if (slept) for (const { link } of this.#links.values()) link.wake();
    for (const view of this.#views.values()) if (!view.waiting && view.isStale(this.#surroundings(view))) this.#flush(view);
  }

  #search(): void {
    if (this.#searching) return;
    let more = false;
    for (const view of this.#views.values()) {
      if (view.selection.unsearched === 0) continue;
      more = view.selection.search(this.guarded) || more;
      this.#changed(view);
    }
    if (!more) return;
    this.#searching = true;
    soon(() => {
      this.#searching = false;
      this.#search();
    });
  }
}

/** After whatever waits already: unlike a timer, without a least delay. */
function soon(callback: () => void): void {
  const { port1, port2 } = new MessageChannel();
  port1.addEventListener("message", () => {
    port1.close();
    callback();
  });
  port1.start();
  port2.postMessage(0);
}
