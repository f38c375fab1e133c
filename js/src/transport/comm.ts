/**
 * The way through the kernel, for hosts whose page reaches no server (VS Code, Colab, marimo). The kernel sends the same SSE
 * bytes; what is in the store is acknowledged, so a slow page slows the kernel.
 */

import { fromNs, windowOf } from "../store/parsing/time.ts";
import type { LogPage, OutlineDoc, Problem } from "../types/events.ts";
import { BINS, cursorsOf, type Host, isFatal, type Link, MOST, type PageQuery, type SearchQuery, type SearchSink, SILENCE, widestSince } from "./link.ts";
import { PageError } from "./page.ts";
import { Splitter } from "./splitter.ts";

const ASK_AGAIN = 5000;
/** Well inside the eight messages that the kernel lets be under way. */
const ACK_EVERY = 4;
const ACK_WITHIN = 50;
const PAGE_TIMEOUT = 30_000;

interface Waiting {
  resolve(answer: unknown): void;
  reject(reason: PageError): void;
}

export class CommLink implements Link {
  #tasks: string[] = [];
  #order: string[] = [];
  #splitter = new Splitter();
  /** Which stream is heard: what the kernel still had under way of the one before is of a place that has been left. */
  #stream = 0;
  #last = 0;
  #acked = 0;
  #acking: ReturnType<typeof setTimeout> | undefined;
  #heard = false;
  #heardAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pages = new Map<number, Waiting>();
  #searches = new Map<number, [Splitter, SearchSink]>();
  #asked = 0;

  constructor(
    private readonly host: Host,
    private readonly send: (message: Record<string, unknown>) => void,
  ) {}

  update(tasks: string[]): void {
    this.#tasks = [...tasks];
    const open = tasks.filter((task) => !this.host.isEnded(task));
    if (open.length > 0) this.#open();
    else if (tasks.length > 0) this.host.onState("done");
    else this.close();
  }

  retry(): void {
    this.update(this.#tasks);
  }

  /** A kernel that speaks is alive; one that was not heard for long is asked again, by cursor. */
  wake(): void {
    if (this.#order.some((task) => !this.host.isEnded(task)) && Date.now() - this.#heardAt > SILENCE) this.#open();
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#acking);
    this.#acking = undefined;
    if (this.#order.length > 0) this.send({ type: "close" });
    this.#order = [];
  }

  #open(again = false): void {
    if (!again) this.#stream++;
    this.#order = this.#tasks.filter((task) => !this.host.isEnded(task));
    clearTimeout(this.#timer);
    if (this.#order.length === 0) {
      this.host.onState("done");
      return;
    }
    this.host.onState("waiting");
    this.#heard = false;
    this.#splitter = new Splitter();
    this.#last = this.#acked = 0;
    const cursor = cursorsOf(this.#order, this.host);
    const since = widestSince(this.#order, this.host, (text) => windowOf(text) ?? Infinity);
    this.send({ type: "open", stream: this.#stream, tasks: this.#order, ...(cursor === "" ? {} : { cursor }), ...(since === "" ? {} : { since, most: MOST }) });
    // A kernel that is busy answers the first question as well as the last.
    this.#timer = setTimeout(() => this.#open(true), ASK_AGAIN);
  }

  /** An acknowledgement stands for all before it: each one costs the kernel a message with its answers, so they are few. */
  #acknowledge(): void {
    const now = (): void => {
      clearTimeout(this.#acking);
      this.#acking = undefined;
      if (this.#acked === this.#last) return;
      this.#acked = this.#last;
      this.send({ type: "ack", n: this.#last });
    };
    if (this.#last - this.#acked >= ACK_EVERY) now();
    else this.#acking ??= setTimeout(now, ACK_WITHIN);
  }

  #alive(): void {
    this.#heardAt = Date.now();
    if (this.#heard) return;
    this.#heard = true;
    this.host.onState("live");
    clearTimeout(this.#timer);
    this.#listen(SILENCE);
  }

  /** Silence also means a kernel that was restarted and knows nothing of us. One timer: to set it anew for each message costs more than the message. */
  #listen(wait: number): void {
    this.#timer = setTimeout(() => {
      const quiet = Date.now() - this.#heardAt;
      if (quiet >= SILENCE) this.#open();
      else this.#listen(SILENCE - quiet);
    }, wait);
  }

  receive(message: Record<string, unknown>, bytes?: Uint8Array): void {
    if (message.stream !== undefined && message.stream !== this.#stream) return;
    if (message.type === "bytes" && bytes !== undefined) {
      const n = Number(message.n);
      // A number that does not grow is a new stream of the kernel, whose bytes do not continue the last ones.
      if (n <= this.#last) {
        this.#splitter = new Splitter();
        this.#acked = n - 1;
      }
      this.#last = n;
      this.#alive();
      this.#splitter.push(bytes, (event) => this.host.onEvent(event, this.#order));
      if (this.#splitter.now !== undefined) this.host.onClock?.(fromNs(this.#splitter.now), true);
      this.#splitter.now = undefined;
      this.#acknowledge();
      this.host.onChunk();
      if (this.#order.every((task) => this.host.isEnded(task))) {
        clearTimeout(this.#timer);
        this.host.onState("done");
      }
    } else if (message.type === "found") this.#found(message, bytes);
    else if (message.type === "error") this.#failed(message.error as Problem);
    else if (message.type === "page" || message.type === "outline") this.#answered(message);
  }

  #failed(problem: Problem): void {
    clearTimeout(this.#timer);
    this.#heard = false;
    if (problem.code === "CursorNotHeld") {
      this.host.onCursorLost(this.#order, problem);
      this.#open();
    } else if (isFatal(problem)) this.host.onState("stopped", problem);
    else {
      this.host.onState("reconnecting", problem);
      this.#timer = setTimeout(() => this.#open(), ASK_AGAIN);
    }
  }

  page(task: string, query: PageQuery): Promise<LogPage> {
    return this.#ask({ type: "page", task, query }) as Promise<LogPage>;
  }

  outline(task: string, levels: boolean): Promise<OutlineDoc> {
    return this.#ask({ type: "outline", task, bins: BINS, levels }) as Promise<OutlineDoc>;
  }

  search(task: string, query: SearchQuery, sink: SearchSink): () => void {
    return this.#events({ type: "search", task, query }, sink);
  }

  metrics(task: string, sink: SearchSink): () => void {
    return this.#events({ type: "metrics", task }, sink);
  }

  #events({ type, ...question }: Record<string, unknown>, sink: SearchSink): () => void {
    const id = ++this.#asked;
    this.#searches.set(id, [new Splitter(), sink]);
    this.send({ type, id, ...question });
    return () => {
      if (this.#searches.delete(id)) this.send({ type: "stop", id });
    };
  }

  #found(message: Record<string, unknown>, bytes: Uint8Array | undefined): void {
    const id = Number(message.id);
    const [splitter, sink] = this.#searches.get(id) ?? [];
    if (bytes !== undefined) splitter?.push(bytes, (event) => sink?.event(event));
    if (message.done !== true || !this.#searches.delete(id)) return;
    sink?.end(message.error as Problem | undefined);
  }

  #ask({ type, ...question }: Record<string, unknown>): Promise<unknown> {
    const id = ++this.#asked;
    this.send({ type, id, ...question });
    return new Promise((resolve, reject) => {
      this.#pages.set(id, { resolve, reject });
      setTimeout(() => {
        if (this.#pages.delete(id)) reject(new PageError({ code: "Timeout", message: "The kernel did not answer; it may be busy" }));
      }, PAGE_TIMEOUT);
    });
  }

  #answered(message: Record<string, unknown>): void {
    const waiting = this.#pages.get(Number(message.id));
    this.#pages.delete(Number(message.id));
    if (message.error !== undefined) waiting?.reject(new PageError(message.error as Problem));
    else waiting?.resolve(message[message.type as string]);
  }
}
