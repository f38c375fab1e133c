/** A server's stream as text, a model as anywidget gives it, and a store that runs in the test. */

import { vi } from "vitest";
import type { LogEvent, SourceInfo } from "../src/protocol/events.ts";
import { Charts } from "../src/store/charts.ts";
import { Origins } from "../src/store/worker.ts";
import type { Model } from "../src/client/session.ts";
import { StoreClient } from "../src/client/storeclient.ts";

export const TASK = "default:job/train-1";
export const T0 = 1_700_000_000_000;
export const W0: SourceInfo = { pod: "train-1-worker-0", container: "main", kind: "main", run: 0, node: "n1" };
export const W1: SourceInfo = { pod: "train-1-worker-1", container: "main", kind: "main", run: 0, node: "n2" };

export function ns(ms: number): string {
  return `${Math.floor(ms)}000000`;
}

export type Line = [ms: number, source: 1 | 2, text: string];

export function logEvent(seq: number, lines: Line[], task = TASK): LogEvent {
  const start = lines[0][0];
  return { task, seq, sources: { 1: W0, 2: W1 }, t0: ns(start), dt: lines.map(([ms]) => Math.round((ms - start) * 1e6)), s: lines.map(([, s]) => s), o: lines.map(() => 1), m: lines.map(([, , m]) => m) };
}

export function sse(event: string, data: object, id = ""): string {
  return `${id === "" ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

export function engineHub(fetcher?: typeof fetch): StoreClient {
  return new StoreClient((onMessage) => {
    const origins = new Origins(onMessage, false, fetcher, async () => ({ Charts }));
    return { post: (message) => origins.receive(message), stop: () => origins.stop() };
  }, async () => "");
}

export interface FakeModel extends Model {
  traits: Record<string, unknown>;
  sent: Record<string, unknown>[];
  emit(name: string, ...args: unknown[]): void;
  bytes(text: string): void;
}

export function fakeModel(traits: Record<string, unknown> = {}): FakeModel {
  const handlers = new Map<string, Set<(...args: unknown[]) => void>>();
  let n = 0;
  const model: FakeModel = {
    traits: { tasks: [TASK], query: { since: "all" }, transport: "comm", height: 420, ...traits },
    sent: [],
    get: (name) => model.traits[name],
    set: (name, value) => void (model.traits[name] = value),
    save_changes: () => {},
    send: (message) => void model.sent.push(message as Record<string, unknown>),
    on: (name, callback) => void handlers.set(name, (handlers.get(name) ?? new Set()).add(callback as (...args: unknown[]) => void)),
    off: (name, callback) => void handlers.get(name)?.delete(callback as (...args: unknown[]) => void),
    emit(name, ...args) {
      for (const handler of handlers.get(name) ?? []) handler(...args);
    },
    bytes(text) {
      model.emit("msg:custom", { type: "bytes", n: ++n }, [new DataView(bytesOf(text).buffer)]);
    },
  };
  return model;
}

/** A server whose connections the test holds in its hands. */
export class Server {
  requests: { url: URL; headers: Record<string, string>; signal: AbortSignal }[] = [];
  #open: ReadableStreamDefaultController<Uint8Array>[] = [];
  answer: ((url: URL) => Response) | undefined;

  readonly fetch = ((input: string, init: RequestInit) => {
    this.requests.push({ url: new URL(input), headers: init.headers as Record<string, string>, signal: init.signal! });
    if (this.answer) return Promise.resolve(this.answer(new URL(input)));
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#open.push(controller);
        init.signal?.addEventListener("abort", () => controller.error(init.signal?.reason));
      },
    });
    return Promise.resolve(new Response(body, { headers: { Date: new Date(T0).toUTCString() } }));
  }) as unknown as typeof fetch;

  async send(text: string): Promise<void> {
    this.#open.at(-1)?.enqueue(bytesOf(text));
    await vi.advanceTimersByTimeAsync(1);
  }

  async drop(): Promise<void> {
    this.#open.at(-1)?.error(new Error("connection reset"));
    await vi.advanceTimersByTimeAsync(1);
  }

  get last(): URLSearchParams {
    return this.requests.at(-1)!.url.searchParams;
  }
}

export function failure(status: number, code: string, message: string, hint = ""): () => Response {
  return () => Response.json({ error: { code, message, hint } }, { status });
}
