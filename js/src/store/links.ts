/** The links of a page: which link streams which task. Also estimates the time at the nodes, whose clocks stamp the lines. */

import type { Problem } from "../protocol/events.ts";
import type { PageConfig, Transport } from "../protocol/messages.ts";
import type { LinkState } from "../protocol/update.ts";
import { CommLink } from "../transport/comm.ts";
import type { Link, LinkHost } from "../transport/link.ts";
import { SseLink } from "../transport/sse.ts";
import type { SseEvent } from "../transport/sseparser.ts";

/** The largest of this many samples counts. Each sample is too low by the time that it was on its way. */
const SAMPLES = 8;
/** The `Date` header has whole seconds, so on average it is half a second behind. */
const HALF_SECOND_MS = 500;

export class ClusterClock {
  #measured: number[] = [];
  #server: number | undefined;

  /** Add a sample from a heartbeat or a status: the nodes' time (ms). */
  setNodeTime(time: number): void {
    this.#measured.push(time - Date.now());
    if (this.#measured.length > SAMPLES) this.#measured.shift();
  }

  /** Set the server's time (ms), which is used until the nodes' is known. */
  setServerTime(time: number): void {
    this.#server = time + HALF_SECOND_MS - Date.now();
  }

  /** How far the nodes' clock is ahead of the page's (ms). */
  get ahead(): number {
    return this.#measured.length > 0 ? Math.max(...this.#measured) : 0;
  }

  /** Return the time at the nodes, never before the newest line. */
  now(newest: number): number {
    const offset = this.#measured.length > 0 ? this.ahead : this.#server;
    return offset === undefined ? newest || Date.now() : Math.max(newest, Date.now() + offset);
  }
}

export interface Subscription {
  tasks: string[];
  transport: Transport;
  since: string;
}

export interface LinkEntry {
  link: Link;
  kind: "sse" | "comm";
  tasks: string[];
  state: LinkState;
  problem: Problem | null;
  /** Number of lines that this page does not have yet, because server or kernel cannot send faster. */
  linesBehind: number;
}

/** What the links ask of the tasks and report to them. */
export interface StreamReceiver {
  cursorOf(task: string): string;
  sinceOf(task: string): string;
  isEnded(task: string): boolean;
  onEvent(event: SseEvent, order: string[]): void;
  onCursorLost(tasks: string[], problem: Problem): void;
  /** Called when bytes have arrived: until now no line is missing. */
  onHeard(task: string): void;
  /** Called when the stream is open. Its events follow. */
  onLive(task: string): void;
}

export class Links {
  config: PageConfig = { base: "", headers: {} };
  readonly subscriptions = new Map<string, Subscription>();
  #sseAbsent = false;
  readonly #links = new Map<string, LinkEntry>();
  /** Identifies this page. A kernel's answers reach all pages that show the widget: other tabs, other users. */
  readonly #client = Math.random().toString(36).slice(2);

  readonly #receiver: StreamReceiver;
  readonly #clock: ClusterClock;
  readonly #actions: { send(model: string, message: Record<string, unknown>): void; headers(): void; changed(): void; arrived(): void };
  readonly #fetcher: (typeof fetch) | undefined;

  constructor(
    receiver: StreamReceiver,
    clock: ClusterClock,
    actions: { send(model: string, message: Record<string, unknown>): void; headers(): void; changed(): void; arrived(): void },
    fetcher?: typeof fetch,
  ) {
    this.#receiver = receiver;
    this.#clock = clock;
    this.#actions = actions;
    this.#fetcher = fetcher;
  }

  tasksOf(model: string): string[] {
    return this.subscriptions.get(model)?.tasks ?? [];
  }

  get wantedTasks(): Set<string> {
    return new Set([...this.subscriptions.values()].flatMap((session) => session.tasks));
  }

  entryOf(task: string): LinkEntry | undefined {
    for (const entry of this.#links.values()) if (entry.tasks.includes(task)) return entry;
    return undefined;
  }

  receive(model: string, message: Record<string, unknown>, bytes?: Uint8Array): void {
    const link = this.#links.get(model)?.link;
    if (link instanceof CommLink && (message.client ?? this.#client) === this.#client) link.receive(message, bytes);
  }

  wake(): void {
    for (const { link } of this.#links.values()) link.wake();
  }

  close(): void {
    for (const { link } of this.#links.values()) link.close();
  }

  /** Assign each task to a link, after the subscriptions have changed. */
  assignTasks(): void {
    const wanted = new Map<string, string[]>();
    const taken = new Set<string>();
    for (const [model, session] of this.subscriptions) {
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
        if (entry.kind === "sse" && this.config.base === "") this.#serverAbsent(entry);
        else entry.link.setTasks(tasks);
      }
      if (tasks.length === 0 && name !== "sse") {
        entry.link.close();
        this.#links.delete(name);
      }
    }
  }

  #kindOf(session: Subscription): "sse" | "comm" {
    if (session.transport !== "auto") return session.transport;
    return this.config.base === "" || this.#sseAbsent ? "comm" : "sse";
  }

  #link(name: string, kind: "sse" | "comm"): LinkEntry {
    const receiver = this.#receiver;
    const clock = this.#clock;
    const actions = this.#actions;
    const host: LinkHost = {
      cursorOf: (task) => receiver.cursorOf(task),
      sinceOf: (task) => receiver.sinceOf(task),
      isEnded: (task) => receiver.isEnded(task),
      onEvent: (event, order) => receiver.onEvent(event, order),
      onChunk: () => {
        for (const task of entry.tasks) receiver.onHeard(task);
        actions.arrived();
      },
      onState: (state, problem) => {
        if (state === "live") for (const task of entry.tasks) receiver.onLive(task);
        entry.state = state;
        entry.linesBehind = 0;
        entry.problem = problem ?? null;
        if (state === "reconnecting") actions.headers();
        actions.changed();
      },
      onCursorLost: (tasks, problem) => receiver.onCursorLost(tasks, problem),
      onClock: (time, ofNodes) => (ofNodes ? clock.setNodeTime(time) : clock.setServerTime(time)),
      onBehind: (lines) => (entry.linesBehind = lines),
    };
    const link =
      kind === "comm"
        ? new CommLink(host, (message) => actions.send(name, { client: this.#client, ...message }))
        : new SseLink(host, () => this.config, (problem) => this.#serverAbsent(entry, problem), this.#fetcher);
    const entry: LinkEntry = { link, kind, tasks: [], state: "connecting", problem: null, linesBehind: 0 };
    return entry;
  }

  #serverAbsent(entry: LinkEntry, problem?: Problem): void {
    this.#sseAbsent = true;
    entry.state = "stopped";
    entry.problem = problem ?? { code: "NoServer", message: "This Jupyter server has no cortex-jupyter extension", hint: "Install cortex-jupyter where Jupyter Server runs, or use transport='comm'." };
    this.assignTasks();
    this.#actions.changed();
  }
}
