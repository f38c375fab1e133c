/** The page's side of the worker. A page has one client for all widgets of one version of the package. */

import type { Problem } from "../protocol/events.ts";
import type { FromStore, FullText, ToStore, Transport } from "../protocol/messages.ts";
import type { Filter, Jump, Viewport } from "../protocol/requests.ts";
import type { SavedRow, TaskSummary, Update } from "../protocol/update.ts";
import { errorMessage } from "../text/format.ts";
import { isRegex, usesRegex } from "../text/query.ts";
import { readPageConfig } from "../transport/http.ts";
import { reportedPolicyProblem } from "./policy.ts";

/** How long the worker may take to answer while it runs a user's regular expression (ms). After that it is terminated. */
const UNRESPONSIVE_MS = 2000;
const PING_AGAIN_MS = 1000;
const IDLE_MS = 10_000;

export interface SessionEntry {
  tasks: string[];
  transport: Transport;
  since: string;
  /** The cluster and store that the tasks belong to; "" for the server's own. */
  origin: string;
  send(message: Record<string, unknown>): void;
  summary(tasks: TaskSummary[]): void;
}

export interface ViewEntry {
  model: string;
  filter: Filter;
  viewport: Viewport;
  /** The text of find: its matches are marked, and all lines stay. */
  find: string;
  /** Whether the view shows the chart. */
  hasChart: boolean;
  /** Whether the view can be seen on the screen. */
  isVisible: boolean;
  update(update: Update): void;
  /** Return the time of the first visible row (ms); null for none. A new worker, or a new list of tasks, scrolls to it. */
  readerTime(): number | null;
  /** Called once a second: only the time has changed. */
  clock(now: number): void;
  /** The regular expression of the filter, or of find, took too long: the view must remove it. */
  regexStopped(find: boolean): void;
  /** The store cannot run in this page. */
  storeFailed(problem: Problem): void;
  /** The code for charts could not be loaded. */
  chartFailed(reason: string): void;
}

export interface Connection {
  post(message: ToStore): void;
  stop(): void;
}

export type Connect = (onMessage: (message: FromStore) => void) => Connection;

export class StoreClient {
  #connection: Connection | undefined;
  #generation = 0;
  #count = 0;
  /** Why the store could not be started. */
  #failure: Problem | undefined;
  /** Whether the worker has been sent the code for charts. */
  #hasChartCode = false;
  /** The view whose regular expression the worker has run since the last ping; `find` if it is the one of find. */
  #suspect: { view: string; find: boolean } | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  readonly #sessions = new Map<string, SessionEntry>();
  readonly #views = new Map<string, ViewEntry>();
  readonly #replies = new Map<number, { resolve(answer: FromStore): void; reject(reason: Error): void }>();

  readonly #connect: Connect;
  readonly #readChartCode: () => Promise<string>;

  constructor(connect: Connect, readChartCode: () => Promise<string>) {
    this.#connect = connect;
    this.#readChartCode = readChartCode;
  }

  open(session: SessionEntry): string {
    const model = `m${++this.#count}`;
    this.#sessions.set(model, session);
    this.#post({ op: "subscribe", model, ...subscriptionOf(session) });
    return model;
  }

  resubscribe(model: string, tasks: string[]): void {
    const session = this.#sessions.get(model);
    if (!session) return;
    session.tasks = tasks;
    this.#post({ op: "subscribe", model, ...subscriptionOf(session) });
    for (const [view, side] of this.#views) {
      if (side.model !== model) continue;
      this.#post(viewMessage(view, side));
      if (side.hasChart) this.#postChart(view, true);
    }
  }

  comm(model: string, message: Record<string, unknown>, bytes?: Uint8Array): void {
    if (this.#sessions.has(model)) this.#post({ op: "comm", model, message, bytes });
  }

  closeSession(model: string): void {
    if (!this.#sessions.delete(model)) return;
    this.#post({ op: "unsubscribe", model });
    this.#stopWhenIdle();
  }

  addView(side: ViewEntry): string {
    const view = `v${++this.#count}`;
    this.#views.set(view, side);
    this.#post(viewMessage(view, side));
    if (usesRegex(side.filter)) this.#watchWorker();
    // The view is not in the page yet.
    queueMicrotask(() => this.#failure && side.storeFailed(this.#failure));
    return view;
  }

  closeView(view: string): void {
    if (this.#views.delete(view)) this.#post({ op: "close", view });
  }

  setFilter(view: string, filter: Filter): void {
    this.#post({ op: "filter", view, filter });
    if (usesRegex(filter)) this.#watchWorker();
  }

  setFind(view: string, term: string): void {
    this.#post({ op: "find", view, term });
    const side = this.#views.get(view);
    if (side) side.find = term;
    if (isRegex(term)) this.#watchWorker();
  }

  showChart(view: string, on: boolean): void {
    const side = this.#views.get(view);
    if (side === undefined || side.hasChart === on) return;
    side.hasChart = on;
    this.#postChart(view, on);
  }

  #postChart(view: string, on: boolean): void {
    this.#post({ op: "chart", view, on });
    if (on && !this.#hasChartCode) void this.#sendChartCode();
  }

  /** Send the worker the code for charts. After a failure it is sent again for the next chart that is shown. */
  async #sendChartCode(): Promise<void> {
    this.#hasChartCode = true;
    const generation = this.#generation;
    try {
      const code = await this.#readChartCode();
      if (generation === this.#generation) this.#post({ op: "chartCode", code });
    } catch (reason) {
      if (generation === this.#generation) this.#onChartFailed(errorMessage(reason));
    }
  }

  #onChartFailed(reason: string): void {
    this.#hasChartCode = false;
    for (const side of this.#views.values()) if (side.hasChart) side.chartFailed(reason);
  }

  jump(view: string, jump: Jump): void {
    this.#post({ op: "jump", view, jump });
  }

  setViewport(view: string, viewport: Viewport): void {
    this.#post({ op: "viewport", view, viewport });
  }

  ack(view: string): void {
    this.#post({ op: "ack", view });
  }

  setVisible(view: string, isVisible: boolean): void {
    const side = this.#views.get(view);
    if (side === undefined || side.isVisible === isVisible) return;
    side.isVisible = isVisible;
    this.#post({ op: "visible", view, isVisible });
  }

  loadOlder(view: string): void {
    this.#post({ op: "loadOlder", view });
  }

  search(view: string, go: boolean): void {
    this.#post({ op: "search", view, go });
  }

  loadSpan(view: string, id: number): void {
    this.#post({ op: "loadSpan", view, id });
  }

  toggleFold(view: string, id: number): void {
    this.#post({ op: "toggleFold", view, id });
  }

  /**
   * Check the connections after the page became visible or the network came back. Losing the network is no reason to act: the
   * server may be on this machine.
   */
  wake(): void {
    if (this.#connection === undefined) return;
    this.#post({ op: "config", config: readPageConfig() });
    this.#post({ op: "wake" });
  }

  retry(model: string): void {
    this.#post({ op: "config", config: readPageConfig() });
    this.#post({ op: "retry", model });
  }

  fullText(view: string, id: number): Promise<FullText> {
    return this.#request<FullText>((ask) => ({ op: "text", view, id, ask }));
  }

  /** Return the rows between two rows as text for the clipboard. */
  copy(view: string, from: number, to: number, as: "text" | "json" | "code"): Promise<string> {
    return this.#request<FullText>((ask) => ({ op: "copy", view, from, to, as, ask })).then(({ text }) => text);
  }

  /** Return the last displayed rows up to a row (null: up to the newest one). */
  lastRows(view: string, to: number | null, most: number): Promise<SavedRow[]> {
    return this.#request<{ rows: SavedRow[] }>((ask) => ({ op: "lastRows", view, to, most, ask })).then(({ rows }) => rows);
  }

  #request<Answer>(message: (ask: number) => ToStore): Promise<Answer> {
    const ask = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#replies.set(ask, { resolve: (answer) => resolve(answer as Answer), reject });
      this.#post(message(ask));
    });
  }

  #post(message: ToStore): void {
    if (this.#connection === undefined) {
      this.#start();
      // `#start` has just told the new worker about all models and views. Only one-time actions are left to send.
      if (message.op === "subscribe" || message.op === "view") return;
    }
    this.#connection!.post(message);
  }

  #start(): void {
    const generation = ++this.#generation;
    this.#connection = this.#connect((message) => {
      if (generation === this.#generation) this.#receive(message);
    });
    this.#connection.post({ op: "config", config: readPageConfig() });
    for (const [model, session] of this.#sessions) this.#connection.post({ op: "subscribe", model, ...subscriptionOf(session) });
    for (const [view, side] of this.#views) {
      this.#connection.post(viewMessage(view, side));
      if (side.find !== "") this.#connection.post({ op: "find", view, term: side.find });
      if (side.hasChart) this.#postChart(view, true);
    }
  }

  #receive(message: FromStore): void {
    if (message.op === "update") this.#views.get(message.view)?.update(message);
    else if (message.op === "clock") {
      for (const side of this.#views.values()) if (this.#isOf(side.model, message.origin)) side.clock(message.now);
    } else if (message.op === "send") this.#sessions.get(message.model)?.send(message.message);
    else if (message.op === "summary") {
      for (const [model, session] of this.#sessions) if (this.#isOf(model, message.origin)) session.summary(message.tasks.filter(({ task }) => session.tasks.includes(task)));
    } else if (message.op === "headers") this.#post({ op: "config", config: readPageConfig() });
    else if (message.op === "pong") this.#onPong();
    else if (message.op === "testing") this.#suspect = message;
    else if (message.op === "chartFailed") this.#onChartFailed(message.reason);
    else if (message.op === "failed") {
      this.#failure = message.problem;
      for (const side of this.#views.values()) side.storeFailed(message.problem);
    }
    else if (message.op === "text" || message.op === "rows") {
      this.#replies.get(message.ask)?.resolve(message);
      this.#replies.delete(message.ask);
    }
  }

  #isOf(model: string, origin = ""): boolean {
    return (this.#sessions.get(model)?.origin ?? "") === origin;
  }

  /** Ping the worker. A regular expression that backtracks without end blocks it, and only terminating the worker stops that. */
  #watchWorker(): void {
    clearTimeout(this.#watchdog);
    this.#post({ op: "ping" });
    // If the page itself was busy, the answer is in the queue behind this timer. So wait for one more short timer.
    this.#watchdog = setTimeout(() => (this.#watchdog = setTimeout(() => this.#restartWorker(), 100)), UNRESPONSIVE_MS);
  }

  #onPong(): void {
    this.#suspect = undefined;
    this.#watchAgain();
  }

  #watchAgain(): void {
    clearTimeout(this.#watchdog);
    const isNeeded = [...this.#views.values()].some(({ filter, find }) => usesRegex(filter) || isRegex(find));
    if (isNeeded) this.#watchdog = setTimeout(() => this.#watchWorker(), PING_AGAIN_MS);
  }

  #restartWorker(): void {
    // Without a suspect no regular expression has run, and the worker is late for another reason: it has just been started.
    const suspect = this.#suspect;
    if (suspect === undefined) {
      this.#watchAgain();
      return;
    }
    this.#disconnect();
    const side = this.#views.get(suspect.view);
    console.error("[cortex-jupyter] stopped a filter that took too long", suspect.find ? side?.find : side?.filter);
    this.#suspect = undefined;
    side?.regexStopped(suspect.find);
    if (this.#connection === undefined) this.#start();
    this.#watchAgain();
  }

  #stopWhenIdle(): void {
    if (this.#sessions.size > 0) return;
    setTimeout(() => {
      if (this.#sessions.size > 0 || this.#views.size > 0) return;
      this.#generation++;
      this.#disconnect();
    }, IDLE_MS);
  }

  #disconnect(): void {
    this.#connection?.stop();
    this.#connection = this.#failure = undefined;
    this.#hasChartCode = false;
    // No worker will answer the requests to this one.
    for (const { reject } of this.#replies.values()) reject(new Error("a regular expression took too long, so the lines are loaded again; try again when they are here"));
    this.#replies.clear();
  }
}

/** Ids of rows mean nothing to the view that this makes in the worker, so it seeks the time of the row that the user reads. */
function viewMessage(view: string, side: ViewEntry): ToStore {
  const { model, filter, viewport, isVisible } = side;
  return { op: "view", view, model, filter, viewport: { ...viewport, anchor: null, anchorIndex: 0, seek: viewport.follow ? null : side.readerTime() }, isVisible };
}

function subscriptionOf({ tasks, transport, since, origin }: SessionEntry): Pick<SessionEntry, "tasks" | "transport" | "since" | "origin"> {
  return { tasks, transport, since, origin };
}

interface StoreModule {
  connect(post: (message: FromStore) => void): { receive(message: ToStore): void; stop(): void };
}

/** Start the worker's code, as a worker or, if the page forbids workers, in the page. */
export function startStore(code: string, onMessage: (message: FromStore) => void): Connection {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  let early: ToStore[] | undefined = [];
  let deliver: (message: ToStore) => void = (message) => early?.push(message);
  let worker: Worker | undefined;
  let stopped = false;
  let store: { stop(): void } | undefined;

  const begin = (send: (message: ToStore) => void): void => {
    deliver = send;
    for (const message of early ?? []) send(message);
    early = undefined;
  };
  const inPage = async (): Promise<void> => {
    worker?.terminate();
    worker = undefined;
    try {
      const { connect } = (await import(/* @vite-ignore */ url)) as StoreModule;
      if (stopped) return;
      const started = connect(onMessage);
      store = started;
      begin((message) => started.receive(message));
    } catch (reason) {
      console.error("[cortex-jupyter]", reason);
      const problem = (await reportedPolicyProblem()) ?? { message: `The log viewer could not start: ${errorMessage(reason)}` };
      if (!stopped) onMessage({ op: "failed", problem: { code: "NoStore", ...problem } });
    }
  };
  try {
    worker = new Worker(url, { type: "module", name: "cortex-jupyter" });
    worker.addEventListener("error", (event) => {
      // An error before the worker is ready means that the page forbids workers. A later one is our own bug.
      if (early === undefined) console.error("[cortex-jupyter]", event.message);
      else void inPage();
    });
    worker.addEventListener("message", ({ data }: MessageEvent<FromStore>) => {
      if (data.op === "ready" && worker) begin((message) => worker?.postMessage(message, transfers(message)));
      else onMessage(data);
    });
  } catch {
    void inPage();
  }
  return {
    post: (message) => deliver(message),
    stop: () => {
      stopped = true;
      worker?.terminate();
      store?.stop();
      URL.revokeObjectURL(url);
    },
  };
}

function transfers(message: ToStore): Transferable[] {
  return message.op === "comm" && message.bytes !== undefined ? [message.bytes.buffer as ArrayBuffer] : [];
}

function wakeOnReturn(hub: StoreClient): StoreClient {
  for (const event of ["online", "focus"]) addEventListener(event, () => hub.wake());
  document.addEventListener("visibilitychange", () => document.hidden || hub.wake());
  return hub;
}

let pageClient: StoreClient | undefined;

/**
 * Return the page's client. A page has one instance of this module for each version of the package (see loader.ts), and so one
 * client and one worker: a viewer never talks to the worker of another version.
 */
export function pageStoreClient(code: string, readChartCode: () => Promise<string>): StoreClient {
  return (pageClient ??= wakeOnReturn(new StoreClient((onMessage) => startStore(code, onMessage), readChartCode)));
}
