/**
 * The link through the kernel, for hosts whose page cannot reach a Jupyter server (VS Code, Colab, marimo). The kernel sends the
 * bytes that a server would send. The page acknowledges them, so that the kernel does not send faster than the page reads.
 */

import type { LogPage, OutlineDoc, Problem } from "../protocol/events.ts";
import { fromNs, parseWindow } from "../text/time.ts";
import { RequestError } from "./http.ts";
import { type EventSink, isFatal, joinCursors, type Link, type LinkHost, MAX_FIRST_LINES, MAX_SEARCH_SILENCE_MS, MAX_SILENCE_MS, OUTLINE_BINS, type PageQuery, type SearchQuery, SilenceTimer, widestSince } from "./link.ts";
import { SseParser } from "./sseparser.ts";

const RETRY_MS = 5000;
/** Acknowledge after this many messages. The kernel waits after eight that are not acknowledged. */
const ACK_EVERY = 4;
const ACK_WITHIN_MS = 50;
const REQUEST_TIMEOUT_MS = 30_000;

interface PendingSearch {
  parser: SseParser;
  sink: EventSink;
  /** A restarted kernel does not know the search and says nothing. */
  silence: SilenceTimer;
}

interface PendingRequest {
  resolve(answer: unknown): void;
  reject(reason: RequestError): void;
}

export class CommLink implements Link {
  #tasks: string[] = [];
  #order: string[] = [];
  #splitter = new SseParser();
  /** Number of the current stream. Messages of an earlier stream are ignored, because it began at another cursor. */
  #stream = 0;
  #received = 0;
  #acked = 0;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #isLive = false;
  #heardAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #requests = new Map<number, PendingRequest>();
  #searches = new Map<number, PendingSearch>();
  #lastId = 0;

  readonly #host: LinkHost;
  readonly #send: (message: Record<string, unknown>) => void;

  constructor(
    host: LinkHost,
    send: (message: Record<string, unknown>) => void,
  ) {
    this.#host = host;
    this.#send = send;
  }

  setTasks(tasks: string[]): void {
    this.#tasks = [...tasks];
    const open = tasks.filter((task) => !this.#host.isEnded(task));
    if (open.length > 0) this.#open();
    else if (tasks.length > 0) this.#host.onState("done");
    else this.close();
  }

  retry(): void {
    this.setTasks(this.#tasks);
  }

  /** Reopen the stream at the cursors if the kernel has been silent for too long. */
  wake(): void {
    if (this.#order.some((task) => !this.#host.isEnded(task)) && Date.now() - this.#heardAt > MAX_SILENCE_MS) this.#open();
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    // Another viewer of the same task can have searched over this link.
    for (const [id, { sink }] of this.#searches) {
      this.#endSearch(id);
      sink.end({ code: "Closed", message: "The answer was cut off: the viewer that it came through was closed" });
    }
    if (this.#order.length > 0) this.#send({ type: "close" });
    this.#order = [];
  }

  #open(again = false): void {
    if (!again) this.#stream++;
    this.#order = this.#tasks.filter((task) => !this.#host.isEnded(task));
    clearTimeout(this.#timer);
    if (this.#order.length === 0) {
      this.#host.onState("done");
      return;
    }
    this.#host.onState("waiting");
    this.#isLive = false;
    this.#splitter = new SseParser();
    this.#received = this.#acked = 0;
    const cursor = joinCursors(this.#order, this.#host);
    const since = widestSince(this.#order, this.#host, (text) => parseWindow(text) ?? Infinity);
    this.#send({ type: "open", stream: this.#stream, tasks: this.#order, ...(cursor === "" ? {} : { cursor }), ...(since === "" ? {} : { since, most: MAX_FIRST_LINES }) });
    // Repeat the same stream number: a busy kernel may still answer an earlier request.
    this.#timer = setTimeout(() => this.#open(true), RETRY_MS);
  }

  /** Acknowledge all received messages, now or soon. The kernel answers each acknowledgement with a message, so there are few. */
  #acknowledge(): void {
    const now = (): void => {
      clearTimeout(this.#ackTimer);
      this.#ackTimer = undefined;
      if (this.#acked === this.#received) return;
      this.#acked = this.#received;
      this.#send({ type: "ack", n: this.#received });
    };
    if (this.#received - this.#acked >= ACK_EVERY) now();
    else this.#ackTimer ??= setTimeout(now, ACK_WITHIN_MS);
  }

  #markAlive(): void {
    this.#heardAt = Date.now();
    if (this.#isLive) return;
    this.#isLive = true;
    this.#host.onState("live");
    clearTimeout(this.#timer);
    this.#watchSilence(MAX_SILENCE_MS);
  }

  /**
   * Reopen the stream after a long silence, because a restarted kernel does not know it. The timer is not restarted for each
   * message: that would cost more than the message.
   */
  #watchSilence(wait: number): void {
    this.#timer = setTimeout(() => {
      const quiet = Date.now() - this.#heardAt;
      if (quiet >= MAX_SILENCE_MS) this.#open();
      else this.#watchSilence(MAX_SILENCE_MS - quiet);
    }, wait);
  }

  receive(message: Record<string, unknown>, bytes?: Uint8Array): void {
    if (message.stream !== undefined && message.stream !== this.#stream) return;
    if (message.type === "bytes" && bytes !== undefined) {
      const n = Number(message.n);
      // If the number does not grow, the kernel has begun the stream again, so these bytes do not continue the last ones.
      if (n <= this.#received) {
        this.#splitter = new SseParser();
        this.#acked = n - 1;
      }
      this.#received = n;
      this.#markAlive();
      this.#splitter.push(bytes, (event) => this.#host.onEvent(event, this.#order));
      if (this.#splitter.nodeTime !== undefined) this.#host.onClock?.(fromNs(this.#splitter.nodeTime), true);
      this.#splitter.nodeTime = undefined;
      this.#acknowledge();
      this.#host.onChunk();
      if (this.#order.every((task) => this.#host.isEnded(task))) {
        clearTimeout(this.#timer);
        this.#host.onState("done");
      }
    } else if (message.type === "behind") {
      this.#markAlive();
      this.#host.onBehind?.(Number(message.lines));
    } else if (message.type === "found") this.#searchEvent(message, bytes);
    else if (message.type === "error") this.#handleError(message.error as Problem);
    else if (message.type === "page" || message.type === "outline") this.#settleRequest(message);
  }

  #handleError(problem: Problem): void {
    clearTimeout(this.#timer);
    this.#isLive = false;
    if (problem.code === "CursorNotHeld") {
      this.#host.onCursorLost(this.#order, problem);
      this.#open();
    } else if (isFatal(problem)) this.#host.onState("stopped", problem);
    else {
      this.#host.onState("reconnecting", problem);
      this.#timer = setTimeout(() => this.#open(), RETRY_MS);
    }
  }

  page(task: string, query: PageQuery): Promise<LogPage> {
    return this.#request({ type: "page", task, query }) as Promise<LogPage>;
  }

  outline(task: string, levels: boolean): Promise<OutlineDoc> {
    return this.#request({ type: "outline", task, bins: OUTLINE_BINS, levels }) as Promise<OutlineDoc>;
  }

  search(task: string, query: SearchQuery, sink: EventSink): () => void {
    return this.#startSearch({ type: "search", task, query }, sink);
  }

  metrics(task: string, sink: EventSink): () => void {
    return this.#startSearch({ type: "metrics", task }, sink);
  }

  #startSearch({ type, ...question }: Record<string, unknown>, sink: EventSink): () => void {
    const id = ++this.#lastId;
    const stop = (): void => {
      if (this.#endSearch(id)) this.#send({ type: "stop", id });
    };
    const silence = new SilenceTimer(MAX_SEARCH_SILENCE_MS, () => {
      stop();
      sink.end({ code: "Timeout", message: `The kernel sent nothing for ${MAX_SEARCH_SILENCE_MS / 1000} s; it may be busy, or was restarted` });
    });
    this.#searches.set(id, { parser: new SseParser(), sink, silence });
    this.#send({ type, id, ...question });
    return stop;
  }

  #endSearch(id: number): boolean {
    this.#searches.get(id)?.silence.stop();
    return this.#searches.delete(id);
  }

  #searchEvent(message: Record<string, unknown>, bytes: Uint8Array | undefined): void {
    const id = Number(message.id);
    const search = this.#searches.get(id);
    if (search === undefined) return;
    search.silence.heard();
    if (bytes !== undefined) search.parser.push(bytes, (event) => search.sink.event(event));
    // An event can have stopped the search.
    if (!this.#searches.has(id)) search.silence.stop();
    else if (message.done === true) {
      this.#endSearch(id);
      search.sink.end(message.error as Problem | undefined);
    }
  }

  #request({ type, ...question }: Record<string, unknown>): Promise<unknown> {
    const id = ++this.#lastId;
    this.#send({ type, id, ...question });
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      setTimeout(() => {
        if (this.#requests.delete(id)) reject(new RequestError({ code: "Timeout", message: "The kernel did not answer; it may be busy" }));
      }, REQUEST_TIMEOUT_MS);
    });
  }

  #settleRequest(message: Record<string, unknown>): void {
    const waiting = this.#requests.get(Number(message.id));
    this.#requests.delete(Number(message.id));
    if (message.error !== undefined) waiting?.reject(new RequestError(message.error as Problem));
    else waiting?.resolve(message[message.type as string]);
  }
}
