/** A filter over what is not loaded: matches are rows like others, and only where lines are looked for. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { OutlineDoc, PageRecord } from "../../src/protocol/events.ts";
import type { ToEngine } from "../../src/protocol/messages.ts";
import type { Jump } from "../../src/protocol/requests.ts";
import type { Update } from "../../src/protocol/update.ts";
import { Engine } from "../../src/store/engine.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { logEvent, ns, Server, sse, T0, TASK, W0, W1 } from "../helpers.ts";

let server: Server;
let engine: Engine;
let update: Update;
/** Where jumps have led. */
let jumped: { row: number; id: number }[] = [];

const shown = (): string[] => update.rows.map((row) => (row.kind === "line" ? row.text : row.kind));
const searches = (): URLSearchParams[] => server.requests.filter(({ url }) => url.pathname.endsWith("/search")).map(({ url }) => url.searchParams);
const settle = (ms = 1): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const progress = (event: string, at: number, matches: number, all = true): string => sse(event, { to: ns(at), matches, looked: 5, lines: 9, all });
const record = (seq: number): PageRecord => ({ seq, time: new Date(T0 - 1000 + seq * 10).toISOString(), pod: W0.pod, container: "main", run: 0, text: `step ${seq}` });

/** Of a hundred lines the last ten are here. */
const OUTLINE: OutlineDoc = {
  records: 100, upto: 100, first: ns(T0 - 990), last: ns(T0), start: ns(T0 - 1000), width: `${100 * 1e6}`,
  lines: [9, 10, 10, 10, 10, 10, 10, 10, 10, 10, 1], notices: [],
};

function filter(grep: string): void {
  engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", grep }).filter });
}

beforeEach(async () => {
  jumped = [];
  vi.useFakeTimers({ now: T0 });
  vi.spyOn(console, "error").mockImplementation(() => {});
  server = new Server();
  engine = new Engine((message) => {
    if (message.op !== "update") return;
    update = message;
    if (message.jump) jumped.push(message.jump);
    queueMicrotask(() => engine.receive({ op: "ack", view: message.view } as ToEngine));
  }, true, server.fetch);
  engine.receive({ op: "config", config: { base: "http://host/cortex/", headers: {} } });
  engine.receive({ op: "subscribe", model: "m1", tasks: [TASK], transport: "auto", since: "all" });
  engine.receive({ op: "view", view: "v1", model: "m1", filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 10, follow: true, anchor: null, anchorIndex: 0 } });
  await settle();
  await server.send(sse("log", logEvent(91, Array.from({ length: 10 }, (_unused, i) => [T0 - 1000 + (91 + i) * 10, 1, `step ${91 + i}`])), "a100"));
  server.answer = () => Response.json(OUTLINE);
  await server.send(sse("status", { task: TASK, state: "running", message: "", older: "o", from: ns(T0 - 90) }));
  server.answer = undefined;
  await settle(10);
});

afterEach(() => {
  engine.stop();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

it("lines that are not loaded take their room on the scroll bar", () => {
  expect(Math.abs(update.total - 101)).toBeLessThan(3);
  expect(update.lines).toBe(100);
  expect(shown().slice(-10)).toEqual(Array.from({ length: 10 }, (_unused, i) => `step ${91 + i}`));
});

it("the server searches once the user has stopped typing, and its matches are placed in order", async () => {
  filter("step");
  filter("step 4");
  await settle(500);
  expect(searches()).toHaveLength(1);
  expect(searches()[0].get("grep")).toBe("(?i)step 4");
  await server.send(sse("log", { ...logEvent(45, [[T0 - 550, 1, "step 45"], [T0 - 510, 1, "step 49"]]), q: [0, 4] }) + progress("progress", T0 - 560, 2));
  expect(shown()).toEqual(["edge", "step 45", "step 49", "step 94"].slice(0, 3));
  expect(update.remote).toMatchObject({ state: "running", to: T0 - 560 });
  expect(update.rows[0].text).toBe(`Searching, back to {${T0 - 560}}`);
  await server.send(sse("log", logEvent(40, [[T0 - 600, 1, "step 40"]])) + sse("log", logEvent(45, [[T0 - 550, 1, "step 45"]])) + progress("done", T0 - 1000, 3));
  expect(shown()).toEqual(["edge", "step 40", "step 45", "step 49"]);
  expect(update.remote?.state).toBe("done");
});

it("matches vanish with the filter, and appear once when they are loaded later", async () => {
  filter("step 4");
  await settle(500);
  await server.send(sse("log", logEvent(45, [[T0 - 550, 1, "step 45"]])) + progress("done", T0 - 1000, 1));
  filter("");
  await settle();
  expect(update.rows.filter(({ kind }) => kind === "line")).toHaveLength(10);
  filter("step 45");
  await settle(500);
  await server.send(sse("log", logEvent(45, [[T0 - 550, 1, "step 45"]])) + progress("done", T0 - 1000, 1));
  server.answer = () => Response.json({ records: Array.from({ length: 90 }, (_unused, i) => record(i + 1)), older: null });
  engine.receive({ op: "loadOlder", view: "v1" });
  await settle(10);
  expect(shown()).toEqual(["edge", "step 45"]);
  filter("");
  engine.receive({ op: "viewport", view: "v1", viewport: { from: 0, count: 200, follow: true, anchor: null, anchorIndex: 0 } });
  await settle();
  expect(shown()).toEqual(["edge", ...Array.from({ length: 100 }, (_unused, i) => `step ${i + 1}`)]);
});

describe("the next match or error in lines that are not loaded", () => {
  const asked = (): URLSearchParams[] => searches();
  const at = (seq: number): number => update.rows.find((row) => row.seq === seq)!.id;
  const jump = (to: Jump): Promise<unknown> => {
    engine.receive({ op: "jump", view: "v1", jump: to });
    return settle(10);
  };
  const answers = (url: URL): Response => (url.pathname.endsWith("/search") ? new Response(null) : url.pathname.endsWith("/outline") ? Response.json(OUTLINE) : Response.json({ records: Array.from({ length: 90 }, (_unused, i) => record(i + 1)), older: null }));

  it("the server finds the match, and the lines around it are loaded and shown", async () => {
    engine.receive({ op: "find", view: "v1", term: "step" });
    await settle(10);
    await jump({ to: "match", by: -1, from: at(98) });
    expect(asked()).toHaveLength(0);
    jumped = [];
    engine.receive({ op: "find", view: "v1", term: "step 4" });
    await settle(10);
    // Here there is only "step 94", which the way round the end leads to; what is not loaded is before that.
    await jump({ to: "match", by: -1, from: at(94) });
    expect(asked().map((query) => [query.get("grep"), query.get("level")])).toEqual([["(?i)step 4", null]]);
    expect(update.beyond).toMatchObject({ state: "running", what: "match", later: false });
    server.answer = answers;
    await server.send(sse("log", { ...logEvent(45, [[T0 - 550, 1, "step 45"], [T0 - 510, 1, "step 49"]]), q: [0, 4] }));
    // It is asked for until it comes.
    await settle(6000);
    expect(update.beyond).toBeUndefined();
    expect(jumped.map(({ id }) => update.rows.find((row) => row.id === id)?.text)).toEqual(["step 49"]);
  });

  it("no error: says so, then shows the next loaded one", async () => {
    await jump({ to: "error", by: -1, from: at(95) });
    expect(asked().map((query) => query.get("level"))).toEqual(["error"]);
    await server.send(progress("progress", T0 - 500, 0));
    expect(update.beyond).toMatchObject({ state: "running", to: T0 - 500 });
    await server.send(progress("done", T0 - 1000, 0));
    expect(update.beyond).toMatchObject({ state: "none", what: "error" });
    expect(jumped).toEqual([]);
  });

  it("searches within the filter and the chosen pods", async () => {
    engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", grep: "step", level: "info", pod: "*-0", run: "0" }).filter });
    engine.receive({ op: "find", view: "v1", term: "/[48]$/" });
    // Before the filter itself is asked of the server.
    await settle(10);
    await jump({ to: "match", by: -1, from: at(94) });
    const [query] = asked();
    expect([query.getAll("grep"), query.get("level"), query.get("pod"), query.get("run")]).toEqual([["(?i)step", "(?i)[48]$"], "info", "*-0", "0"]);
    server.answer = answers;
    await server.send(sse("log", { ...logEvent(84, [[T0 - 160, 2, "step 84"], [T0 - 120, 1, "step 88"]]), q: [0, 4] }));
    await settle(6000);
    expect(jumped.map(({ id }) => update.rows.find((row) => row.id === id)?.text)).toEqual(["step 88"]);
  });

  it("is not searched where the filter's search has been, and is found where it has not", async () => {
    filter("step 4");
    await settle(500);
    await server.send(sse("log", { ...logEvent(45, [[T0 - 550, 1, "step 45"], [T0 - 510, 1, "step 49"]]), q: [0, 4] }) + progress("progress", T0 - 560, 2));
    engine.receive({ op: "find", view: "v1", term: "4" });
    await settle(10);
    await jump({ to: "match", by: -1, from: at(49) });
    expect(jumped.map(({ id }) => update.rows.find((row) => row.id === id)?.text)).toEqual(["step 45"]);
    expect(asked()).toHaveLength(1);
    await jump({ to: "match", by: -1, from: at(45) });
    expect(asked()).toHaveLength(2);
    const [, query] = asked();
    expect([query.getAll("grep"), Date.parse(query.get("until")!)]).toEqual([["(?i)step 4", "(?i)4"], T0 - 559]);
    // The other way all is here that matches.
    await jump({ to: "match", by: 1, from: at(45) });
    expect(asked()).toHaveLength(2);
  });

  it("finds an error of a pod that was chosen in Python", async () => {
    engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", container: "main", level: "info" }).filter });
    await settle(10);
    await jump({ to: "error", by: -1, from: at(95) });
    expect(asked().map((query) => [query.get("level"), query.get("container")])).toEqual([["error", "main"]]);
  });

  it("failed or cancelled", async () => {
    await jump({ to: "error", by: -1, from: at(95) });
    await server.send(sse("error", { code: "Gone", message: "the server is full" }));
    expect(update.beyond).toMatchObject({ state: "failed", message: "the server is full" });
    await jump({ to: "error", by: -1, from: at(95) });
    engine.receive({ op: "viewport", view: "v1", viewport: { from: 0, count: 10, follow: true, anchor: null, anchorIndex: 0 } });
    await settle(10);
    expect(update.beyond).toBeUndefined();
    expect(server.requests.filter(({ url }) => url.pathname.endsWith("/search")).every(({ signal }) => signal.aborted)).toBe(true);
  });
});

it("does not ask for a task whose sources are all hidden", async () => {
  engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", grep: "step", off: [W0, W1].map(({ pod }) => `${TASK}/${pod}/main`) }).filter });
  await settle(500);
  expect(searches()).toEqual([]);
  expect(update.remote).toMatchObject({ state: "done", matches: 0 });
});

it("can be stopped and continued", async () => {
  filter("step");
  await settle(500);
  await server.send(progress("progress", T0 - 300, 0));
  const first = server.requests.find(({ url }) => url.pathname.endsWith("/search"))!;
  engine.receive({ op: "search", view: "v1", go: false });
  await settle();
  expect(first.signal.aborted).toBe(true);
  expect(update.remote?.state).toBe("stopped");
  engine.receive({ op: "search", view: "v1", go: true });
  await settle();
  expect(Date.parse(searches()[1].get("until")!)).toBe(T0 - 299);
  await server.send(sse("error", { code: "TooSlow", message: "'step' takes too long on one line; the search was stopped" }));
  expect(update.remote).toMatchObject({ state: "failed", message: expect.stringContaining("takes too long") });
});
