/** The page's only SSE connection, which serves all its tasks. It uses fetch, because EventSource cannot send headers, and reconnects at the cursors. */

import type { LogPage, OutlineDoc, Problem } from "../protocol/events.ts";
import type { PageConfig } from "../protocol/messages.ts";
import { fromNs, parseWindow } from "../text/time.ts";
import { fetchEvents, fetchOutline, fetchPage, fetchSearch, readProblem, taskPath } from "./http.ts";
import { type EventSink, isFatal, joinCursors, type Link, type LinkHost, MAX_FIRST_LINES, MAX_SILENCE_MS, type PageQuery, type SearchQuery, widestSince } from "./link.ts";
import { SseParser } from "./sseparser.ts";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
const FATAL_STATUSES = new Set([400, 401, 403, 404]);
/** Number of refusals after a successful connection that are not shown to the user: meanwhile tokens and cookies are renewed. */
const MAX_SILENT_REFUSALS = 3;
/**
 * Maximum delay after refusals (ms). It is long because each refusal is a line in the server's log, and because a user who signs
 * in again comes back to the page, which calls `wake`.
 */
const MAX_REFUSED_DELAY_MS = 60_000;

export class SseLink implements Link {
  #tasks: string[] = [];
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #retryMs: number | undefined;
  #refusals = 0;
  /** Whether the server's extension has answered before. */
  #wasConnected = false;
  #heardAt = 0;
  #isLive = false;

  readonly #host: LinkHost;
  readonly #config: () => PageConfig;
  /** Called if the server has no extension (a 404 that is not ours) or reads another cluster or store. The comm may serve instead. */
  readonly #onAbsent: (problem?: Problem) => void;
  readonly #fetcher: typeof fetch;

  constructor(
    host: LinkHost,
    config: () => PageConfig,
    onAbsent: (problem?: Problem) => void,
    fetcher: typeof fetch = (...args) => fetch(...args),
  ) {
    this.#host = host;
    this.#config = config;
    this.#onAbsent = onAbsent;
    this.#fetcher = fetcher;
  }

  setTasks(tasks: string[]): void {
    this.#tasks = [...tasks];
    this.#reopen(0);
  }

  retry(): void {
    this.#failures = this.#refusals = 0;
    this.#reopen(0);
  }

  wake(): void {
    if (this.#timer !== undefined || (this.#isLive && Date.now() - this.#heardAt > MAX_SILENCE_MS)) this.#reopen(0);
  }

  close(): void {
    this.#tasks = [];
    this.#abort?.abort();
    clearTimeout(this.#timer);
  }

  page(task: string, query: PageQuery): Promise<LogPage> {
    return fetchPage(this.#fetcher, this.#config(), task, query);
  }

  outline(task: string, levels: boolean): Promise<OutlineDoc> {
    return fetchOutline(this.#fetcher, this.#config(), task, levels);
  }

  search(task: string, query: SearchQuery, sink: EventSink): () => void {
    const abort = new AbortController();
    void fetchSearch(this.#fetcher, this.#config(), task, query, sink, abort);
    return () => abort.abort();
  }

  metrics(task: string, sink: EventSink): () => void {
    const abort = new AbortController();
    void fetchEvents(this.#fetcher, this.#config(), `${taskPath(task)}/metrics`, sink, abort);
    return () => abort.abort();
  }

  #reopen(delay: number): void {
    this.#abort?.abort();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isLive = false;
    const open = this.#tasks.filter((task) => !this.#host.isEnded(task));
    if (open.length > 0) this.#timer = setTimeout(() => void this.#connect(open), delay);
    else if (this.#tasks.length > 0) this.#host.onState("done");
  }

  #reconnectLater(problem?: Problem, atLeast = 0): void {
    const ceiling = Math.min(this.#refusals > MAX_SILENT_REFUSALS ? MAX_REFUSED_DELAY_MS : MAX_DELAY_MS, (this.#retryMs ?? FIRST_DELAY_MS) * 2 ** this.#failures);
    this.#failures++;
    const left = this.#tasks.some((task) => !this.#host.isEnded(task));
    if (left) this.#host.onState("reconnecting", problem);
    this.#reopen(atLeast + ceiling * (0.5 + Math.random() / 2));
  }

  #address(tasks: string[]): string {
    const query = new URLSearchParams(tasks.map((task) => ["task", task]));
    const since = widestSince(tasks, this.#host, (text) => parseWindow(text) ?? Infinity);
    if (since !== "") {
      query.set("since", since);
      query.set("most", String(MAX_FIRST_LINES));
    }
    const cursor = joinCursors(tasks, this.#host);
    if (cursor !== "") query.set("cursor", cursor);
    return `${this.#config().base}stream?${query}`;
  }

  async #connect(tasks: string[]): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#timer = undefined;
    if (this.#failures === 0) this.#host.onState(this.#wasConnected ? "reconnecting" : "connecting");
    let silence = setTimeout(() => abort.abort("silence"), MAX_SILENCE_MS);
    const heard = (): void => {
      clearTimeout(silence);
      this.#heardAt = Date.now();
      silence = setTimeout(() => abort.abort("silence"), MAX_SILENCE_MS);
    };
    try {
      const response = await this.#fetcher(this.#address(tasks), {
        headers: { ...this.#config().headers, Accept: "text/event-stream" },
        credentials: "same-origin",
        cache: "no-store",
        signal: abort.signal,
      });
      const date = Date.parse(response.headers.get("Date") ?? "");
      if (!Number.isNaN(date)) this.#host.onClock?.(date);
      if (!response.ok || response.body === null) {
        await this.#handleRefusal(response, tasks);
        return;
      }
      this.#wasConnected = this.#isLive = true;
      this.#refusals = 0;
      this.#host.onState("live");
      heard();
      await this.#read(response.body.getReader(), tasks, heard);
      this.#reconnectLater();
    } catch {
      if (this.#abort !== abort || (abort.signal.aborted && abort.signal.reason !== "silence")) return;
      // The browser's message says no more than the state: the connection is cut.
      this.#reconnectLater();
    } finally {
      clearTimeout(silence);
    }
  }

  async #read(reader: ReadableStreamDefaultReader<Uint8Array>, tasks: string[], heard: () => void): Promise<void> {
    const splitter = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      splitter.push(value, (event) => {
        this.#failures = 0;
        this.#host.onEvent(event, tasks);
      });
      this.#retryMs = splitter.retry;
      if (splitter.nodeTime !== undefined) this.#host.onClock?.(fromNs(splitter.nodeTime), true);
      splitter.nodeTime = undefined;
      this.#host.onBehind?.(splitter.linesBehind);
      this.#host.onChunk();
    }
  }

  async #handleRefusal(response: Response, tasks: string[]): Promise<void> {
    const problem = await readProblem(response);
    if (problem.code === "OtherCluster") this.#onAbsent(problem);
    else if (response.status === 410) {
      this.#host.onCursorLost(tasks, problem);
      this.#reconnectLater();
    } else if (response.status === 404 && problem.code === "") {
      // A hub answers like this while it restarts a server.
      if (this.#wasConnected) this.#reconnectLater();
      else this.#onAbsent();
    } else if (this.#wasConnected && (response.status === 401 || response.status === 403)) this.#reconnectLater(++this.#refusals > MAX_SILENT_REFUSALS ? problem : undefined);
    else if (FATAL_STATUSES.has(response.status) || isFatal(problem)) this.#host.onState("stopped", problem);
    // A proxy's 502 means that the server is away. Problems of the cluster have a code of their own.
    else this.#reconnectLater(problem.code.startsWith("Http5") ? undefined : problem, Number(response.headers.get("Retry-After")) * 1000 || 0);
  }
}
