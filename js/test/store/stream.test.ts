import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { FromStore, ToEngine } from "../../src/protocol/messages.ts";
import type { TaskSummary, Update } from "../../src/protocol/update.ts";
import { Engine } from "../../src/store/engine.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { failure, logEvent, Server, sse, T0, TASK } from "../helpers.ts";

const OTHER = "ml:job/score";

let server: Server;
let engine: Engine;
let updates: Update[];
let other: FromStore[];

const last = (view = "v1"): Update => updates.findLast((update) => update.view === view)!;
const texts = (view = "v1"): string[] => last(view).rows.filter((row) => row.kind === "line").map((row) => row.text);
const line = (seq: number, text: string, task = TASK): object => logEvent(seq, [[T0 - 1000 + seq, 1, text]], task);

function open(model: string, tasks: string[], since = "1m", view = model.replace("m", "v")): void {
  engine.receive({ op: "subscribe", model, tasks, transport: "auto", since });
  engine.receive({ op: "view", view, model, filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
}

beforeEach(async () => {
  vi.useFakeTimers({ now: T0 });
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new Server();
  updates = [];
  other = [];
  engine = new Engine((message) => {
    if (message.op === "update") {
      updates.push(message);
      queueMicrotask(() => engine.receive({ op: "ack", view: message.view } as ToEngine));
    } else other.push(message);
  }, true, server.fetch);
  engine.receive({ op: "config", config: { base: "http://host/user/x/cortex/", headers: { Authorization: "token t", "X-XSRFToken": "x" } } });
});

afterEach(() => {
  engine.stop();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(1);

describe("one connection per page", () => {
  it("serves all viewers, also two of one task, and reports who asks", async () => {
    open("m1", [TASK], "1m");
    open("m2", [TASK], "1m");
    open("m3", [OTHER], "10m");
    await settle();
    expect(server.requests).toHaveLength(1);
    expect(server.last.getAll("task")).toEqual([TASK, OTHER]);
    expect(server.last.get("since")).toBe("10m");
    expect(server.last.has("cursor")).toBe(false);
    expect(server.requests[0].url.pathname).toBe("/user/x/cortex/stream");
    expect(server.requests[0].headers).toEqual({ Authorization: "token t", "X-XSRFToken": "x", Accept: "text/event-stream" });
    await server.send(sse("log", line(0, "hello"), "a1,"));
    expect([texts("v1"), texts("v2"), texts("v3")]).toEqual([["hello"], ["hello"], []]);
  });

  it("is reopened with a cursor for each task when a task joins; only the new viewer gets the window", async () => {
    open("m1", [TASK]);
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    open("m2", [OTHER], "5m");
    await settle();
    expect(server.requests).toHaveLength(2);
    expect(server.requests[0].signal.aborted).toBe(true);
    expect(server.last.get("cursor")).toBe("a1,");
    expect(server.last.get("since")).toBe("5m");
    // A server that repeats what was there does no harm.
    await server.send(sse("log", line(0, "one"), "a1,b0") + sse("log", line(1, "two"), "a2,b0") + sse("log", line(0, "score", OTHER), "a2,b1"));
    expect([texts("v1"), texts("v2")]).toEqual([["one", "two"], ["score"]]);
  });

  it("is closed with the last viewer", async () => {
    open("m1", [TASK]);
    await settle();
    engine.receive({ op: "close", view: "v1" });
    engine.receive({ op: "unsubscribe", model: "m1" });
    await vi.advanceTimersByTimeAsync(6000);
    expect(server.requests[0].signal.aborted).toBe(true);
    expect(server.requests).toHaveLength(1);
  });
});

describe("a broken connection", () => {
  it("reconnects by cursor with growing pauses, and clears nothing", async () => {
    open("m1", [TASK]);
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    await server.drop();
    expect(last().link).toBe("reconnecting");
    expect(texts()).toEqual(["one"]);
    await vi.advanceTimersByTimeAsync(500);
    expect(server.requests).toHaveLength(2);
    expect(server.last.get("cursor")).toBe("a1");
    await server.drop();
    await vi.advanceTimersByTimeAsync(990);
    expect(server.requests).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(20);
    expect(server.requests).toHaveLength(3);
    await server.send(sse("log", line(1, "two"), "a2"));
    expect(last().link).toBe("live");
    expect(texts()).toEqual(["one", "two"]);
    await server.drop();
    await vi.advanceTimersByTimeAsync(501);
    expect(server.requests).toHaveLength(4);
  });

  it("never waits longer than 15 s, and honours retry:", async () => {
    open("m1", [TASK]);
    await settle();
    await server.send("retry: 2000\n\n");
    for (let i = 0; i < 8; i++) {
      await server.drop();
      await vi.advanceTimersByTimeAsync(15_000);
    }
    expect(server.requests).toHaveLength(9);
    await server.send(sse("log", line(0, "x"), "a1"));
  });

  it("is noticed after 45 s without a heartbeat", async () => {
    open("m1", [TASK]);
    await settle();
    await vi.advanceTimersByTimeAsync(40_000);
    await server.send(": heartbeat\n\n");
    await vi.advanceTimersByTimeAsync(40_000);
    expect(server.requests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(server.requests).toHaveLength(2);
  });

  it("is not one when the task has ended", async () => {
    open("m1", [TASK]);
    await settle();
    await server.send(sse("end", { task: TASK, seq: 0, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "a1"));
    await server.drop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.requests.filter(({ url }) => url.pathname.endsWith("/stream"))).toHaveLength(1);
    expect(last().link).toBe("done");
    expect(last().tasks[0]).toMatchObject({ ended: true, message: "Job complete exit 0" });
  });
});

describe("a refusal", () => {
  it.each([400, 401, 403, 404])("%d stops, with the server's message", async (status) => {
    server.answer = failure(status, "SomeCode", "No, because", "Do this");
    open("m1", [TASK]);
    await settle();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.requests).toHaveLength(1);
    expect(last()).toMatchObject({ link: "stopped", problem: { message: "No, because", hint: "Do this" } });
    server.answer = undefined;
    engine.receive({ op: "retry", model: "m1" });
    await settle();
    expect(server.requests).toHaveLength(2);
    expect(last()).toMatchObject({ link: "live", problem: null });
  });

  it("429 and 502 are retried, and reported meanwhile", async () => {
    server.answer = failure(429, "LimitReached", "20 streams are open already");
    open("m1", [TASK]);
    await settle();
    expect(last()).toMatchObject({ link: "reconnecting", problem: { message: "20 streams are open already" } });
    server.answer = undefined;
    await vi.advanceTimersByTimeAsync(600);
    expect(last()).toMatchObject({ link: "live", problem: null });
  });

  it("a limit with Retry-After is not retried sooner", async () => {
    const refuse = failure(429, "LimitReached", "4 streams are open on this server");
    server.answer = () => {
      const answer = refuse();
      answer.headers.set("Retry-After", "5");
      return answer;
    };
    open("m1", [TASK]);
    await settle();
    server.answer = undefined;
    await vi.advanceTimersByTimeAsync(5000);
    expect(server.requests).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(600);
    expect(last()).toMatchObject({ link: "live", problem: null });
  });

  it("410 drops the cursor, says so and reloads the window", async () => {
    open("m1", [TASK]);
    await settle();
    await server.send(sse("log", line(7, "old recording"), "a1"));
    await server.drop();
    server.answer = failure(410, "CursorNotHeld", "The recording was removed");
    await vi.advanceTimersByTimeAsync(501);
    server.answer = undefined;
    await vi.advanceTimersByTimeAsync(1001);
    expect(server.last.has("cursor")).toBe(false);
    await server.send(sse("log", line(7, "new recording"), "b1"));
    expect(texts()).toEqual(["new recording"]);
    expect(last().rows.find((row) => row.kind === "gap")?.text).toContain("The recording was removed");
  });

  it("404 without our error means that there is no server extension: the kernel is asked instead", async () => {
    server.answer = () => new Response("<html>not found</html>", { status: 404 });
    open("m1", [TASK], "5m");
    await settle();
    expect(other).toContainEqual({ op: "send", model: "m1", message: { client: expect.any(String) as string, type: "open", stream: 1, tasks: [TASK], since: "5m", most: 20_000 } });
    expect(last()).toMatchObject({ link: "waiting", transport: "comm" });
  });
});

const pageRecord = { seq: 1, time: new Date(T0 - 90_000).toISOString(), pod: "train-1-worker-0", container: "main", run: 0, stream: "stdout", text: "before", level: "" };

it("older lines are fetched from the page before the window", async () => {
  open("m1", [TASK]);
  await settle();
  await server.send(sse("status", { task: TASK, state: "running", message: "", older: "o1" }, "a1") + sse("log", line(5, "now"), "a2"));
  expect(last().rows[0]).toMatchObject({ kind: "edge", text: "Older lines" });
  server.answer = () => Response.json({ records: [pageRecord], notices: [], older: null, newer: "x" });
  engine.receive({ op: "loadOlder", view: "v1" });
  await settle();
  expect(`${server.requests.at(-1)!.url.pathname}?${server.last}`).toBe("/user/x/cortex/tasks/default/job/train-1/logs?before=o1&limit=2000&since=all");
  expect(texts()).toEqual(["before", "now"]);
  expect(last().rows[0].text).toBe("Beginning of the log");
});

it("a page request on a dead connection ends with a message, and the next one loads the lines", async () => {
  open("m1", [TASK]);
  await settle();
  await server.send(sse("status", { task: TASK, state: "running", message: "", older: "o1" }, "a1") + sse("log", line(5, "now"), "a2"));
  engine.receive({ op: "loadOlder", view: "v1" });
  await settle();
  expect(last().rows[0].text).toBe("Loading older lines…");
  // The answer has begun, and nothing more comes.
  await vi.advanceTimersByTimeAsync(50_000);
  expect(last().rows[0].text).toBe("Older lines");
  expect(last().problem).toMatchObject({ code: "Timeout", message: expect.stringContaining("sent nothing for 45 s") as string });
  server.answer = () => Response.json({ records: [pageRecord], notices: [], older: null, newer: "x" });
  engine.receive({ op: "loadOlder", view: "v1" });
  await settle();
  expect(texts()).toEqual(["before", "now"]);
  expect(last().problem).toBeNull();
});

it("the kernel gets counts now and then, and never a line", async () => {
  open("m1", [TASK]);
  await settle();
  for (let i = 0; i < 50; i++) await server.send(sse("log", line(i, `secret ${i}`), `a${i}`));
  await vi.advanceTimersByTimeAsync(1000);
  const summaries = other.filter((message): message is { op: "summary"; tasks: TaskSummary[] } => message.op === "summary");
  expect(summaries.length).toBeLessThanOrEqual(4);
  expect(summaries.at(-1)?.tasks[0].lines).toBe(50);
  expect(JSON.stringify(summaries)).not.toContain("secret");
});
