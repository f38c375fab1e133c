/** The page's side of the store: one per page whatever the number of widgets and module instances, found on globalThis. */

import { pageConfig } from "../transport/config.ts";
import { usesRegex } from "./asking/filter.ts";
import { isRegex } from "./asking/terms.ts";
import type { Filter, Jump, Look } from "../types/asked.ts";
import type { FromStore, ToStore, Transport } from "../types/messages.ts";
import type { Update } from "../types/update.ts";
import type { TaskSummary } from "../types/summary.ts";

/** How long the worker may be deaf while a reader's regex is in use. */
const DEAF = 2000;
const LISTEN_AGAIN = 1000;
const IDLE = 10_000;

export interface SessionSide {
  tasks: string[];
  transport: Transport;
  since: string;
  /** Which cluster and store they are of; empty: the server's. */
  origin: string;
  send(message: Record<string, unknown>): void;
  summary(tasks: TaskSummary[]): void;
}

export interface ViewSide {
  model: string;
  filter: Filter;
  look: Look;
  /** What is sought without filtering. */
  find: string;
  /** Its chart is shown. */
  chart: boolean;
  /** Whether anybody can see it. */
  seen: boolean;
  update(update: Update): void;
  /** Time has passed and nothing else. */
  clock(now: number): void;
  /** The regex ran away: the view must leave it. */
  regexStopped(): void;
}

export interface Connection {
  post(message: ToStore): void;
  stop(): void;
}

export type Connect = (onMessage: (message: FromStore) => void) => Connection;

export class Hub {
  readonly version = 1;
  #connection: Connection | undefined;
  #generation = 0;
  #count = 0;
  #suspect = "";
  #guard: ReturnType<typeof setTimeout> | undefined;
  readonly #sessions = new Map<string, SessionSide>();
  readonly #views = new Map<string, ViewSide>();
  readonly #asks = new Map<number, (text: string) => void>();

  constructor(private readonly connect: Connect) {}

  open(session: SessionSide): string {
    const model = `m${++this.#count}`;
    this.#sessions.set(model, session);
    this.#post({ op: "subscribe", model, ...pick(session) });
    return model;
  }

  resubscribe(model: string, tasks: string[]): void {
    const session = this.#sessions.get(model);
    if (!session) return;
    session.tasks = tasks;
    this.#post({ op: "subscribe", model, ...pick(session) });
    for (const [view, side] of this.#views) {
      if (side.model !== model) continue;
      this.#post(asMessage(view, side));
      if (side.chart) this.#post({ op: "chart", view, on: true });
    }
  }

  comm(model: string, message: Record<string, unknown>, bytes?: Uint8Array): void {
    if (this.#sessions.has(model)) this.#post({ op: "comm", model, message, bytes });
  }

  closeSession(model: string): void {
    if (!this.#sessions.delete(model)) return;
    this.#post({ op: "unsubscribe", model });
    this.#rest();
  }

  addView(side: ViewSide): string {
    const view = `v${++this.#count}`;
    this.#views.set(view, side);
    this.#post(asMessage(view, side));
    if (usesRegex(side.filter)) this.#listen(view);
    return view;
  }

  closeView(view: string): void {
    if (this.#views.delete(view)) this.#post({ op: "close", view });
  }

  filter(view: string, filter: Filter): void {
    this.#post({ op: "filter", view, filter });
    if (usesRegex(filter)) this.#listen(view);
  }

  find(view: string, term: string): void {
    this.#post({ op: "find", view, term });
    const side = this.#views.get(view);
    if (side) side.find = term;
    if (isRegex(term)) this.#listen(view);
  }

  chart(view: string, on: boolean): void {
    const side = this.#views.get(view);
    if (side === undefined || side.chart === on) return;
    side.chart = on;
    this.#post({ op: "chart", view, on });
  }

  jump(view: string, jump: Jump): void {
    this.#post({ op: "jump", view, jump });
  }

  look(view: string, look: Look): void {
    this.#post({ op: "look", view, look });
  }

  ack(view: string): void {
    this.#post({ op: "ack", view });
  }

  sight(view: string, seen: boolean): void {
    const side = this.#views.get(view);
    if (side === undefined || side.seen === seen) return;
    side.seen = seen;
    this.#post({ op: "sight", view, seen });
  }

  older(view: string): void {
    this.#post({ op: "older", view });
  }

  search(view: string, go: boolean): void {
    this.#post({ op: "search", view, go });
  }

  hole(view: string, id: number): void {
    this.#post({ op: "hole", view, id });
  }

  fold(view: string, id: number): void {
    this.#post({ op: "fold", view, id });
  }

  /** The page is seen again, or the network is back. That it went says little: a server may be on this machine. */
  wake(): void {
    if (this.#connection === undefined) return;
    this.#post({ op: "config", config: pageConfig() });
    this.#post({ op: "wake" });
  }

  retry(model: string): void {
    this.#post({ op: "config", config: pageConfig() });
    this.#post({ op: "retry", model });
  }

  text(view: string, id: number): Promise<string> {
    return this.#asked((ask) => ({ op: "text", view, id, ask }));
  }

  /** The shown rows from one to another, to be copied. */
  copy(view: string, from: number, to: number, as: "text" | "json" | "code"): Promise<string> {
    return this.#asked((ask) => ({ op: "copy", view, from, to, as, ask }));
  }

  #asked(message: (ask: number) => ToStore): Promise<string> {
    const ask = ++this.#count;
    return new Promise((resolve) => {
      this.#asks.set(ask, resolve);
      this.#post(message(ask));
    });
  }

  #post(message: ToStore): void {
    if (this.#connection === undefined) {
      this.#start();
      // Whatever is open has just been told to the new store; only what acts once is still to be said.
      if (message.op === "subscribe" || message.op === "view") return;
    }
    this.#connection!.post(message);
  }

  #start(): void {
    const generation = ++this.#generation;
    this.#connection = this.connect((message) => {
      if (generation === this.#generation) this.#receive(message);
    });
    this.#connection.post({ op: "config", config: pageConfig() });
    for (const [model, session] of this.#sessions) this.#connection.post({ op: "subscribe", model, ...pick(session) });
    for (const [view, side] of this.#views) {
      this.#connection.post(asMessage(view, side));
      if (side.find !== "") this.#connection.post({ op: "find", view, term: side.find });
      if (side.chart) this.#connection.post({ op: "chart", view, on: true });
    }
  }

  #receive(message: FromStore): void {
    if (message.op === "update") this.#views.get(message.view)?.update(message);
    else if (message.op === "clock") {
      for (const side of this.#views.values()) if (this.#isOf(side.model, message.origin)) side.clock(message.now);
    } else if (message.op === "send") this.#sessions.get(message.model)?.send(message.message);
    else if (message.op === "summary") {
      for (const [model, session] of this.#sessions) if (this.#isOf(model, message.origin)) session.summary(message.tasks.filter(({ task }) => session.tasks.includes(task)));
    } else if (message.op === "headers") this.#post({ op: "config", config: pageConfig() });
    else if (message.op === "pong") this.#heard();
    else if (message.op === "text") {
      this.#asks.get(message.ask)?.(message.text);
      this.#asks.delete(message.ask);
    }
  }

  #isOf(model: string, origin = ""): boolean {
    return (this.#sessions.get(model)?.origin ?? "") === origin;
  }

  /** A regex that backtracks for ever holds the worker, which nothing but its end can stop. */
  #listen(view: string): void {
    this.#suspect = view;
    clearTimeout(this.#guard);
    this.#post({ op: "ping" });
    // A second, immediate look: when the page itself was busy, the answer is waiting behind this timer.
    this.#guard = setTimeout(() => (this.#guard = setTimeout(() => this.#deaf(), 100)), DEAF);
  }

  #heard(): void {
    clearTimeout(this.#guard);
    const side = this.#views.get(this.#suspect);
    if (side && (usesRegex(side.filter) || isRegex(side.find))) this.#guard = setTimeout(() => this.#listen(this.#suspect), LISTEN_AGAIN);
  }

  #deaf(): void {
    this.#connection?.stop();
    this.#connection = undefined;
    const side = this.#views.get(this.#suspect);
    console.error("[cortex-jupyter] stopped a filter that took too long", side?.filter.grep);
    side?.regexStopped();
    if (this.#connection === undefined) this.#start();
  }

  #rest(): void {
    if (this.#sessions.size > 0) return;
    setTimeout(() => {
      if (this.#sessions.size > 0 || this.#views.size > 0) return;
      this.#generation++;
      this.#connection?.stop();
      this.#connection = undefined;
    }, IDLE);
  }
}

function asMessage(view: string, { model, filter, look, seen }: ViewSide): ToStore {
  return { op: "view", view, model, filter, look, seen };
}

function pick({ tasks, transport, since, origin }: SessionSide): Pick<SessionSide, "tasks" | "transport" | "since" | "origin"> {
  return { tasks, transport, since, origin };
}
