/** The store's side of the page: links in, views out. Runs in a worker, or in the page where workers are forbidden. */

import { CommLink } from "../transport/comm.ts";
import type { Host, Link } from "../transport/link.ts";
import { PageError } from "../transport/page.ts";
import type { SseEvent } from "../transport/splitter.ts";
import { SseLink } from "../transport/sse.ts";
import type { EndEvent, FromStore, GapEvent, LinkState, LogEvent, PageConfig, Problem, StatusEvent, TaskSummary, ToStore, Transport } from "../types.ts";
import { TaskStore } from "./store.ts";
import { windowOf } from "./time.ts";
import { View } from "./view.ts";

const PAGE_LINES = 2000;
const AUTO_PAGES = 25;
const KEEP = 5000;
const SUMMARY_EVERY = 500;
const TICK = 1000;

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
}

export class Engine {
  #config: PageConfig = { base: "", headers: {} };
  #sseAbsent = false;
  #clockOffset: number | undefined;
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
      view.look = message.look;
    } else if (message.op === "ack") {
      view.waiting = false;
      if (view.dirty) this.#flush(view);
      return;
    } else if (message.op === "older") {
      view.extended = true;
      for (const store of view.selection.stores) void this.#older(store.task);
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
      held = { store: new TaskStore(task), coveredFrom: Infinity, loading: false, autoPages: 0, problem: null };
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
      cursorOf: (task) => this.#hold(task).store.cursor,
      sinceOf: (task) => this.#sinceOf(task),
      isEnded: (task) => this.#hold(task).store.ended || this.#hold(task).problem !== null,
      onEvent: (event, order) => this.#event(event, order),
      onChunk: () => this.#changed(),
      onState: (state, problem) => {
        entry.state = state;
        entry.problem = problem ?? null;
        if (state === "reconnecting") this.post({ op: "headers" });
        this.#changed();
      },
      onCursorLost: (tasks, problem) => this.#startAnew(tasks, problem),
      onClock: (time) => (this.#clockOffset = time + 500 - Date.now()),
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
    let widest = "1m";
    let width = -1;
    for (const session of this.#sessions.values()) {
      const window = windowOf(session.since) ?? Infinity;
      if (session.tasks.includes(task) && window > width) [widest, width] = [session.since, window];
    }
    this.#hold(task).coveredFrom = this.#now() - width;
    return widest;
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
    if (event === "log") store.addLog(data as LogEvent);
    else if (event === "status") store.addStatus(data as StatusEvent);
    else if (event === "gap") store.addGap(data as GapEvent);
    else if (event === "end") store.addEnd(data as EndEvent);
    this.#taken(store, before);
    if (store.ended && store.rows <= 1 && store.older) void this.#older(store.task);
  }

  #taken(store: TaskStore, before: number): void {
    for (const view of this.#views.values()) view.selection.take(store, before, store.rows);
    this.#search();
  }

  #problem(problem: Problem, order: string[]): void {
    for (const task of problem.task ? [problem.task] : order) {
      const held = this.#held.get(task);
      if (held && problem.task) held.problem = problem;
      else {
        const entry = this.#linkOf(task);
        if (entry) entry.problem = problem;
      }
    }
    console.error("[cortex-jupyter]", problem.code, problem.message);
  }

  #startAnew(tasks: string[], problem: Problem): void {
    const from = `${Math.round(this.#now())}000000`;
    for (const task of tasks) this.#held.delete(task);
    for (const task of tasks) this.#hold(task).store.addGap({ task, from, reason: `${problem.message}; the window was loaded anew` });
    for (const view of this.#views.values()) {
      const { look, selection, model, id } = view;
      if (!selection.stores.some((store) => tasks.includes(store.task))) continue;
      this.#views.set(id, new View(id, model, this.#storesOf(model), selection.filter, { ...look, follow: true, anchor: null }));
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
      const entry = this.#linkOf(task);
      const text = reason instanceof Error ? reason.message : String(reason);
      if (entry) entry.problem = reason instanceof PageError ? reason.problem : { code: "PageFailed", message: `Older lines could not be loaded: ${text}` };
    }
    held.loading = false;
    this.#changed();
    for (const view of this.#views.values()) if (view.selection.stores.includes(held.store)) this.#loadForWindow(view);
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

  #now(): number {
    const newest = Math.max(0, ...[...this.#held.values()].map(({ store }) => store.newest));
    return this.#clockOffset === undefined ? newest || Date.now() : Math.max(newest, Date.now() + this.#clockOffset);
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
    const { ended, exit, gaps, gapLines, lines, message, state } = this.#hold(task).store;
    return { task, ended, exit, gaps, gapLines, lines, message, state };
  }

  #surroundings(view: View): Parameters<View["update"]>[0] {
    const tasks = this.#sessions.get(view.model)?.tasks ?? [];
    const held = tasks.map((task) => this.#hold(task));
    const entry = tasks.length > 0 ? this.#linkOf(tasks[0]) : undefined;
    const live = held.some(({ store }) => !store.ended);
    const done = !live && held.length > 0;
    const problem = held.find((one) => one.problem !== null)?.problem ?? (done && entry?.state !== "stopped" ? null : (entry?.problem ?? null));
    const rest = { link: done ? ("done" as const) : (entry?.state ?? "connecting"), transport: entry?.kind ?? "comm", problem, tasks: tasks.map((task) => this.#summary(task)) };
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
