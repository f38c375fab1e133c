import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { FromStore, ToStore } from "../../src/protocol/messages.ts";
import type { Update } from "../../src/protocol/update.ts";
import { Origins } from "../../src/store/worker.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { bytesOf, failure, logEvent, Server, sse, T0, TASK } from "../helpers.ts";

let server: Server;
let posted: FromStore[];
let origins: Origins;

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(20);
const last = (view: string): Update => posted.findLast((message): message is Update => message.op === "update" && message.view === view)!;
const texts = (view: string): string[] => last(view).rows.filter(({ kind }) => kind === "line").map(({ text }) => text);
const sent = (model: string): Record<string, unknown>[] => posted.filter((message) => message.op === "send" && message.model === model).map((message) => (message as { message: Record<string, unknown> }).message);
const line = (text: string): string => sse("log", logEvent(1, [[Date.now(), 1, text]]));

function open(model: string, view: string, origin: string, transport: "auto" | "comm" = "auto"): void {
  origins.receive({ op: "subscribe", model, tasks: [TASK], transport, since: "1m", origin });
  origins.receive({ op: "view", view, model, filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
}

/** The kernel of a model answers what it was asked last. */
function answer(model: string, text: string): void {
  const { stream, client } = sent(model).findLast(({ type }) => type === "open")!;
  origins.receive({ op: "comm", model, message: { type: "bytes", stream, client, n: 1 }, bytes: bytesOf(text) });
}

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
  vi.spyOn(console, "error").mockImplementation(() => {});
  server = new Server();
  posted = [];
  origins = new Origins((message) => {
    posted.push(message);
    if (message.op === "update") queueMicrotask(() => origins.receive({ op: "ack", view: message.view } as ToStore));
  }, false, server.fetch);
  origins.receive({ op: "config", config: { base: "http://host/cortex/", headers: { Authorization: "token t" } } });
});

afterEach(() => {
  origins.stop();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

it("names the origin to the server, and falls back to the kernel if the server reads another cluster", async () => {
  server.answer = failure(409, "OtherCluster", "this Jupyter server reads another cluster or store than the kernel");
  open("m1", "v1", "prod");
  await settle();
  expect(server.requests[0].headers["X-Cortex-Origin"]).toBe("prod");
  expect(sent("m1").map(({ type }) => type)).toEqual(["open"]);
  answer("m1", line("of prod"));
  await settle();
  expect(texts("v1")).toEqual(["of prod"]);
  expect(last("v1")).toMatchObject({ transport: "comm", problem: null });
});

it("keeps tasks of the same name in two clusters apart", async () => {
  open("m1", "v1", "one", "comm");
  open("m2", "v2", "two", "comm");
  await settle();
  answer("m1", line("of one"));
  answer("m2", line("of two"));
  await settle();
  expect([texts("v1"), texts("v2")]).toEqual([["of one"], ["of two"]]);
  await vi.advanceTimersByTimeAsync(2000);
  const summaries = posted.filter((message) => message.op === "summary");
  expect(new Set(summaries.map(({ origin }) => origin))).toEqual(new Set(["one", "two"]));
});

it("shares the lines of two viewers of one cluster and store", async () => {
  open("m1", "v1", "one");
  open("m2", "v2", "one");
  await settle();
  expect(server.requests.filter(({ url }) => url.pathname.endsWith("/stream"))).toHaveLength(1);
  await server.send(line("of both"));
  await settle();
  expect([texts("v1"), texts("v2")]).toEqual([["of both"], ["of both"]]);
});

it("forgets a cluster that no view shows any more, and sends no origin for the server's own tasks", async () => {
  open("m1", "v1", "one", "comm");
  await settle();
  origins.receive({ op: "close", view: "v1" });
  origins.receive({ op: "unsubscribe", model: "m1" });
  await vi.advanceTimersByTimeAsync(20_000);
  open("m2", "v2", "");
  await settle();
  expect(server.requests.at(-1)!.headers).toEqual({ Authorization: "token t", Accept: "text/event-stream" });
});

it("bounds the memory of all tasks of a page together, whatever their cluster", async () => {
  const LINES = 200_000;
  const PART = 20_000;
  for (const [model, view, origin] of [["m1", "v1", "prod"], ["m2", "v2", "dev"]]) {
    open(model, view, origin, "comm");
    await settle();
    const { stream, client } = sent(model).findLast(({ type }) => type === "open")!;
    for (let n = 0; n < LINES / PART; n++) {
      const lines = Array.from({ length: PART }, (_unused, i): [number, 1, string] => [T0 + n * PART + i, 1, `line ${n * PART + i}`]);
      origins.receive({ op: "comm", model, message: { type: "bytes", stream, client, n: n + 1 }, bytes: bytesOf(sse("log", logEvent(1 + n * PART, lines))) });
    }
    await settle();
  }
  const dropped = ["v1", "v2"].map((view) => {
    // The oldest rows of the view: dropped lines are a notice that says how many.
    origins.receive({ op: "viewport", view, viewport: { from: 0, count: 50, follow: false, anchor: null, anchorIndex: 0 } });
    return last(view).rows.map(({ text }) => /^Not loaded: .*, about (.+) lines$/.exec(text)?.[1].replaceAll("\u202f", "")).find(Boolean);
  });
  const kept = 2 * LINES - dropped.reduce((sum, lines) => sum + Number(lines ?? 0), 0);
  expect(kept).toBeLessThan(300_000);
  expect(kept).toBeGreaterThan(250_000);
  // Each task keeps its share, and its newest line.
  expect(Math.abs(Number(dropped[0]) - Number(dropped[1]))).toBeLessThan(LINES / 2);
  for (const view of ["v1", "v2"]) {
    origins.receive({ op: "viewport", view, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
    await settle();
    expect(texts(view).at(-1)).toBe(`line ${LINES - 1}`);
  }
});
