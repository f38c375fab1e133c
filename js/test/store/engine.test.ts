import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Complete } from "../../src/protocol/events.ts";
import type { ToEngine } from "../../src/protocol/messages.ts";
import { type TaskSummary, TICKS, type Update } from "../../src/protocol/update.ts";
import { compileFilter } from "../../src/text/query.ts";
import { Engine } from "../../src/store/engine.ts";
import { Selection } from "../../src/store/selection.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { View } from "../../src/store/view.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { describeClock, describeCompleteness, describeEmpty, describeHidden, describeState } from "../../src/ui/status.ts";
import { failure, logEvent, ns, Server, sse, T0, TASK, W0, W1 } from "../helpers.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let server: Server;
let engine: Engine;
let updates: Update[];

const last = (): Update => updates.at(-1)!;
const texts = (): string[] => last().rows.filter((row) => row.kind === "line").map((row) => row.text);
const kinds = (): string[] => last().rows.map((row) => (row.kind === "line" ? row.text : row.kind));
const line = (seq: number, text: string, at = Date.now()): object => logEvent(seq, [[at, 1, text]]);
const streams = (): URLSearchParams[] => server.requests.filter(({ url }) => url.pathname.endsWith("/stream")).map(({ url }) => url.searchParams);
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(1);

function open(since = "all", asked = "1m"): void {
  engine.receive({ op: "subscribe", model: "m1", tasks: [TASK], transport: "auto", since: asked });
  engine.receive({ op: "view", view: "v1", model: "m1", filter: fromPlain({ since }).filter, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
}

/** The machine sleeps: no timer runs, and the time is another one. */
function sleep(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "warn").mockImplementation(() => {});
  vi.spyOn(Math, "random").mockReturnValue(1);
  server = new Server();
  updates = [];
  engine = new Engine((message) => {
    if (message.op !== "update") return;
    updates.push(message);
    queueMicrotask(() => engine.receive({ op: "ack", view: message.view } as ToEngine));
  }, true, server.fetch);
  engine.receive({ op: "config", config: { base: "http://host/cortex/", headers: { Authorization: "token old" } } });
});

afterEach(() => {
  engine.stop();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("while disconnected", () => {
  it("counts up without redrawing and keeps its lines", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    server.answer = failure(502, "", "");
    await server.drop();
    for (const seconds of [5, 12]) {
      await vi.advanceTimersByTimeAsync(T0 + seconds * 1000 - Date.now() + 500);
      expect(describeState(last(), true)).toEqual(["Reconnecting", "warn", expect.stringMatching(`, last line ${seconds} s ago`)]);
    }
    expect(texts()).toEqual(["one"]);
    expect(last().problem).toBeNull();
  });

  it("a page that is refused after a connection retries with its current token, and reports it after a while", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    server.answer = failure(403, "NotAllowed", "Forbidden");
    await server.drop();
    await vi.advanceTimersByTimeAsync(2000);
    expect(last()).toMatchObject({ link: "reconnecting", problem: null });
    engine.receive({ op: "config", config: { base: "http://host/cortex/", headers: { Authorization: "token new" } } });
    server.answer = undefined;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(server.requests.at(-1)!.headers.Authorization).toBe("token new");
    expect(streams().at(-1)!.get("cursor")).toBe("a1");
    expect(last().link).toBe("live");
    server.answer = failure(403, "NotAllowed", "Forbidden");
    await server.drop();
    const count = streams().length;
    await vi.advanceTimersByTimeAsync(10 * MINUTE);
    expect(last()).toMatchObject({ link: "reconnecting", problem: { message: "Forbidden" } });
    expect(describeState(last(), true)).toEqual(["Reconnecting", "warn", expect.stringContaining(", last line 10 m ")]);
    expect(streams().length - count).toBeLessThan(30);
    server.answer = undefined;
    engine.receive({ op: "wake" });
    await settle();
    expect(last()).toMatchObject({ link: "live", problem: null });
    expect(texts()).toEqual(["one"]);
  });

  it("stops when the recording is deleted, keeps its lines and says who deleted it", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    await server.send(sse("error", { task: TASK, code: "RecordingDeleted", message: "deleted by root", hint: "" }));
    server.answer = failure(404, "RecordingDeleted", "deleted by root");
    await server.drop();
    await vi.advanceTimersByTimeAsync(MINUTE);
    const count = streams().length;
    expect(last()).toMatchObject({ problem: { message: "deleted by root" } });
    await vi.advanceTimersByTimeAsync(10 * MINUTE);
    expect(streams()).toHaveLength(count);
    expect(texts()).toEqual(["one"]);
  });

  it("says so without a network", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    server.answer = failure(502, "", "");
    await server.drop();
    vi.stubGlobal("navigator", { onLine: false });
    expect(describeState(last(), true)).toEqual(["Offline", "warn", expect.stringMatching(/^, last line \d+ s ago$/)]);
    vi.unstubAllGlobals();
  });

  it("does not give up when a hub restarts the server", async () => {
    open();
    await settle();
    server.answer = () => new Response("<html>", { status: 404 });
    await server.drop();
    await vi.advanceTimersByTimeAsync(5000);
    expect(last()).toMatchObject({ link: "reconnecting", transport: "sse" });
  });

  it("does not wait for the end of a pause when the network is back", async () => {
    open();
    await settle();
    server.answer = failure(502, "", "");
    await server.drop();
    await vi.advanceTimersByTimeAsync(16_000);
    const count = streams().length;
    server.answer = undefined;
    engine.receive({ op: "wake" });
    await settle();
    expect(streams()).toHaveLength(count + 1);
    expect(last().link).toBe("live");
  });
});

describe("after sleep", () => {
  it("reopens a connection that was silent meanwhile, and keeps one that was not", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    sleep(20_000);
    engine.receive({ op: "wake" });
    await settle();
    expect(streams()).toHaveLength(1);
    sleep(5 * MINUTE);
    await vi.advanceTimersByTimeAsync(1000);
    expect(streams()).toHaveLength(2);
    expect(streams()[1].get("cursor")).toBe("a1");
  });

  it("asks for the window after hours, loads the rest on demand, and shows each line once", async () => {
    open("1h", "10m");
    await settle();
    await server.send(sse("log", line(0, "before"), "a1"));
    sleep(3 * HOUR);
    await vi.advanceTimersByTimeAsync(1000);
    expect([streams()[1].get("cursor"), streams()[1].get("since")]).toEqual([null, "10m"]);
    await server.send(sse("log", line(7, "after"), "a9"));
    engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all" }).filter });
    await settle();
    expect(kinds()).toEqual(["edge", "before", "hole", "after"]);
    const hole = last().rows[2];
    expect(hole.text).toMatch(/^Not loaded: \{\d+\} to \{\d+\}$/);

    const record = (seq: number): object => ({ seq, time: new Date(T0 + seq * HOUR / 4).toISOString(), pod: W0.pod, container: "main", run: 0, stream: "stdout", text: `between ${seq}` });
    server.answer = () => Response.json({ records: [1, 2, 3].map(record), older: "o", newer: "a4" });
    engine.receive({ op: "loadSpan", view: "v1", id: hole.id });
    await settle();
    expect(server.requests.at(-1)!.url.searchParams.get("after")).toBe("a1");
    expect(kinds()).toEqual(["edge", "before", "between 1", "between 2", "between 3", "hole", "after"]);
    server.answer = () => Response.json({ records: [4, 5, 7].map(record), older: "o", newer: "a8" });
    engine.receive({ op: "loadSpan", view: "v1", id: last().rows[5].id });
    await settle();
    expect(server.requests.at(-1)!.url.searchParams.get("after")).toBe("a4");
    expect(kinds()).toEqual(["edge", "before", ...[1, 2, 3, 4, 5].map((i) => `between ${i}`), "after"]);
    // And the stream goes on from the cursor it has now.
    server.answer = undefined;
    await server.drop();
    await vi.advanceTimersByTimeAsync(1000);
    expect(streams().at(-1)!.get("cursor")).toBe("a9");
    expect(last().lines).toBe(7);
  });

  it("a task that ended meanwhile shows its last lines", async () => {
    open("all", "10m");
    await settle();
    await server.send(sse("log", line(0, "before"), "a1"));
    sleep(3 * HOUR);
    await vi.advanceTimersByTimeAsync(1000);
    server.answer = () => Response.json({ records: [{ seq: 1, time: new Date(T0 + HOUR).toISOString(), pod: W0.pod, container: "main", run: 0, text: "the last" }], older: "o", newer: null });
    await server.send(sse("end", { task: TASK, seq: 2, time: ns(T0 + HOUR + 1), state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "a3"));
    expect(kinds()).toEqual(["edge", "before", "the last", "notice"]);
  });
});

it("an expired cursor: says so, reloads the window and keeps the user's place", async () => {
  open("all", "1m");
  await settle();
  const lines = (from: number): string => Array.from({ length: 200 }, (_unused, i) => sse("log", logEvent(from + i, [[T0 - 200_000 + i * 1000, 1, `step ${i}`]]), `a${from + i}`)).join("");
  await server.send(lines(0));
  const { rows, first } = { ...last(), first: last().first };
  const anchor = rows.find((row) => row.text === "step 160")!;
  engine.receive({ op: "viewport", view: "v1", viewport: { from: first, count: 50, follow: false, anchor: anchor.id, anchorIndex: first + rows.indexOf(anchor) } });
  await settle();
  const { generation } = last();
  server.answer = failure(410, "CursorNotHeld", "The recording was removed");
  await server.drop();
  await vi.advanceTimersByTimeAsync(501);
  server.answer = undefined;
  await vi.advanceTimersByTimeAsync(1100);
  expect(streams().at(-1)!.has("cursor")).toBe(false);
  await server.send(lines(1000).split("\n\n").slice(100).join("\n\n"));
  expect(last().generation).toBeGreaterThan(generation);
  const sought = updates.findLast(({ seekRow }) => seekRow !== undefined)!;
  expect(sought.rows[sought.seekRow! - sought.first].text).toBe("step 160");
  expect(last().follow).toBe(false);
  expect(last().tasks[0].gaps).toBe(0);
});

/** The reader is at "step 160", and the recording is removed. */
async function removed(start: number): Promise<void> {
  open("all", "1m");
  await settle();
  const lines = Array.from({ length: 200 }, (_unused, i) => sse("log", logEvent(i, [[start + i * 1000, 1, `step ${i}`]]), `a${i}`));
  await server.send(lines.join(""));
  const { first, rows } = last();
  const at = rows.findIndex((row) => row.text === "step 160");
  engine.receive({ op: "viewport", view: "v1", viewport: { from: first, count: 50, follow: false, anchor: rows[at].id, anchorIndex: first + at } });
  await settle();
  server.answer = failure(410, "CursorNotHeld", "The recording was removed");
  await server.drop();
  await vi.advanceTimersByTimeAsync(501);
  server.answer = undefined;
  await vi.advanceTimersByTimeAsync(1100);
}

/** Lines of one source of a recording that begins anew. */
const part = (start: number, seq: number, source: 1 | 2, from: number, to: number): string =>
  sse("log", logEvent(seq, Array.from({ length: to - from }, (_unused, i) => [start + (from + i) * 1000, source, `step ${from + i}`])), `b${seq}`);

it("a recorder that starts over sends the newest lines first: waits for the user's place", async () => {
  const start = T0 - 200_000;
  await removed(start);
  // Older lines of a run are another source of the recording.
  // However long it takes until it begins.
  await vi.advanceTimersByTimeAsync(20_000);
  await server.send(part(start, 1000, 1, 180, 200));
  expect(last().seekRow).toBeDefined();
  await server.send(part(start, 2000, 2, 0, 180));
  const sought = updates.findLast(({ seekRow }) => seekRow !== undefined)!;
  expect(sought.rows[sought.seekRow! - sought.first].text).toBe("step 160");
  await server.send(part(start, 3000, 1, 200, 201));
  expect(last().seekRow).toBeUndefined();
});

it("asks for the user's place by its time, however long the request takes", async () => {
  const start = T0 - 400_000;
  await removed(start);
  expect(streams().at(-1)!.get("since")).toBe(new Date(start + 159_000).toISOString());
  // Also where the view's window of a minute reaches so far now, but perhaps not by then.
  await removed(T0 - 200_000);
  expect(Date.parse(streams().at(-1)!.get("since")!)).toBeLessThanOrEqual(T0 - 41_000);
});

it("waits for the user's place while older lines come in several parts", async () => {
  const start = T0 - 200_000;
  await removed(start);
  await server.send(part(start, 1000, 1, 180, 200));
  for (const [seq, from, to] of [[2000, 0, 60], [3000, 60, 150]]) {
    await server.send(part(start, seq, 2, from, to));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(last().seekRow).toBeDefined();
  }
  await server.send(part(start, 4000, 2, 150, 180));
  const sought = updates.findLast(({ seekRow }) => seekRow !== undefined)!;
  expect(sought.rows[sought.seekRow! - sought.first].text).toBe("step 160");
  await server.send(part(start, 5000, 1, 200, 201));
  expect(last().seekRow).toBeUndefined();
});

it("finds the user's place when the lines come in other events than before", async () => {
  const times = Array.from({ length: 200 }, (_unused, i) => BigInt(T0 - 20_000) * 1_000_000n + BigInt(i) * 50_123_457n);
  const lines = (from: number, to: number): string => {
    const own = times.slice(from, to);
    const event = { ...logEvent(from, own.map((_unused, i) => [0, 1, `step ${from + i}`])), t0: String(own[0]), dt: own.map((time) => Number(time - own[0])) };
    return sse("log", event, `a${to}`);
  };
  open("all", "1m");
  await settle();
  await server.send(Array.from({ length: 67 }, (_unused, i) => lines(i * 3, Math.min(200, i * 3 + 3))).join(""));
  for (let place = 100; place < 130; place++) {
    engine.receive({ op: "viewport", view: "v1", viewport: { from: 0, count: 300, follow: false, anchor: null, anchorIndex: 0 } });
    await settle();
    const { first, rows } = last();
    const at = rows.findIndex((row) => row.text === `step ${place}`);
    engine.receive({ op: "viewport", view: "v1", viewport: { from: first, count: 300, follow: false, anchor: rows[at].id, anchorIndex: first + at } });
    await settle();
    await server.send(sse("error", { task: TASK, code: "CursorNotHeld", message: "The recording was removed" }));
    await vi.advanceTimersByTimeAsync(1100);
    const middle = 50 + place % 50;
    await server.send(lines(0, middle) + lines(middle, 200));
    const sought = updates.findLast(({ seekRow }) => seekRow !== undefined)!;
    expect(sought.rows[sought.seekRow! - sought.first].text).toBe(`step ${place}`);
    // The next update is for the next line, and no longer moves to the place.
    await server.send(sse("log", line(200, "newest")));
    expect(last().seekRow).toBeUndefined();
  }
});

it("finds the user's place after a recording is removed twice", async () => {
  const start = T0 - 200_000;
  await removed(start);
  await server.send(part(start, 1000, 1, 180, 200));
  server.answer = failure(410, "CursorNotHeld", "The recording was removed");
  await server.drop();
  await vi.advanceTimersByTimeAsync(501);
  server.answer = undefined;
  await vi.advanceTimersByTimeAsync(1100);
  await server.send(part(start, 2000, 1, 0, 200));
  const sought = updates.findLast(({ seekRow }) => seekRow !== undefined)!;
  expect(sought.rows[sought.seekRow! - sought.first].text).toBe("step 160");
});

it("a user who scrolls while the place is sought stays where they scroll to", async () => {
  const start = T0 - 200_000;
  await removed(start);
  await server.send(part(start, 1000, 1, 180, 200));
  expect(last().seekRow).toBeDefined();
  engine.receive({ op: "viewport", view: "v1", viewport: { seek: null, from: 0, count: 50, follow: false, anchor: null, anchorIndex: 0 } });
  await server.send(part(start, 2000, 2, 0, 180));
  expect(last().seekRow).toBeUndefined();
  expect(last().first).toBe(0);
});

describe("context of matches", () => {
  const filter = (plain: object): void => engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", ...plain }).filter });
  /** Visible lines; context in brackets, and a bar where lines are left out. */
  const shown = (): string => last().rows.filter(({ kind }) => kind === "line").map(({ text, isContext, isApart }) => `${isApart ? "|" : ""}${isContext ? `(${text})` : text}`).join(" ");
  const write = (seq: number, words: string): Promise<void> => server.send(sse("log", logEvent(seq, words.split(" ").map((text, i) => [T0 + (seq + i) * 1000, ((seq + i) % 2) + 1 as 1 | 2, text])), `c${seq}`));

  it("is around each match, where lines are left out it says so, and lines that come later are context, too", async () => {
    open();
    await settle();
    server.answer = () => Response.json({ records: [], older: null });
    await write(0, "a b x1 c d e f x2 g x3 h");
    filter({ typed: "x", around: 1 });
    await settle();
    expect(shown()).toBe("(b) x1 (c) |(f) x2 (g) x3 (h)");
    expect([last().shown, last().lines]).toEqual([3, 11]);
    await write(11, "i x4");
    expect(shown()).toBe("(b) x1 (c) |(f) x2 (g) x3 (h) (i) x4");
    await write(13, "j k l");
    expect(shown()).toBe("(b) x1 (c) |(f) x2 (g) x3 (h) (i) x4 (j)");
    filter({ typed: "x", around: 0 });
    await settle();
    expect(shown()).toBe("x1 x2 x3 x4");
    filter({ around: 1 });
    await settle();
    expect(last().filtered).toBe(false);
    expect(shown()).toContain("a b x1 c");
  });

  it("is the same whether lines come at once or in parts, out of order between sources", () => {
    let state = 7;
    const random = (below: number): number => (state = (state * 16_807) % 2_147_483_647) % below;
    for (let round = 0; round < 30; round++) {
      const store = new TaskStore(TASK);
      const wanted = { ...fromPlain({ since: "all", typed: "x", pod: round % 2 === 0 ? "" : W0.pod }).filter, around: 1 + random(3) };
      const parts = new Selection([store], wanted);
      const times = [T0, T0];
      for (let seq = 0; seq < 120; ) {
        const source = random(2);
        const batch = Array.from({ length: 1 + random(6) }, (): [number, 1 | 2, string] => [(times[source] += random(5)), (source + 1) as 1 | 2, random(8) === 0 ? "x" : "o"]);
        const before = store.rows;
        store.addLog(logEvent(seq, batch));
        parts.addRows(store, before, store.rows);
        while (parts.unsearched > 0) parts.search(true);
        seq += batch.length;
      }
      const whole = new Selection([store], wanted);
      while (whole.unsearched > 0) whole.search(true);
      const ids = (selection: Selection): number[] => Array.from({ length: selection.shown.length }, (_unused, i) => selection.shown.at(i));
      expect(ids(parts)).toEqual(ids(parts).toSorted(parts.compare));
      expect(parts.matched.length).toBe(whole.matched.length);
      // A line that comes between a match and its context does not take the context away.
      expect(ids(whole).filter((id) => !parts.shown.has(id))).toEqual([]);
    }
  });

  it("has only lines of shown sources, and n leads from match to match", async () => {
    open();
    await settle();
    server.answer = () => Response.json({ records: [], older: null });
    await write(0, "a b x1 c d e f g x2 h i");
    filter({ typed: "x", around: 1, pod: W0.pod });
    await settle();
    expect(shown()).toBe("(a) x1 (d) (f) x2 (i)");
    const first = last().rows.find(({ text }) => text === "x1")!;
    engine.receive({ op: "jump", view: "v1", jump: { to: "match", by: 1, from: first.id } });
    await settle();
    expect(last().rows.find(({ id }) => id === updates.findLast(({ jump }) => jump)!.jump!.id)!.text).toBe("x2");
  });
});

it("shows the counts of an outline that comes just after the sources were sent, also if no row comes with it", async () => {
  const outline = { records: 20, upto: 19, first: ns(T0 - 20_000), last: ns(T0), start: ns(T0 - 20_000), width: "1000000000", lines: Array.from({ length: 21 }, () => 1), errors: Array.from({ length: 21 }, () => 0), counted: 20, notices: [], sources: [{ ...W0, lines: 20 }] };
  const counts = (): number[] => updates.findLast(({ sources }) => sources)!.sources!.map(({ lines }) => lines);
  let answerLate = (_answer: Response): void => {};
  const late = new Promise<Response>((resolve) => (answerLate = resolve));
  open();
  await settle();
  server.answer = (url: URL) => (url.pathname.endsWith("/outline") ? (late as unknown as Response) : Response.json({ records: [], older: null }));
  await server.send(sse("status", { task: TASK, state: "running", from: ns(T0 - 20_000) }) + sse("log", line(11, "newest", T0), "c1") + sse("end", { task: TASK, seq: 20, time: ns(T0), state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c2"));
  await vi.advanceTimersByTimeAsync(3000);
  engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all" }).filter });
  expect(counts()).toEqual([1, 0]);
  answerLate(Response.json(outline));
  await vi.advanceTimersByTimeAsync(2000);
  expect(last().lines).toBe(20);
  expect(counts()).toEqual([20, 0]);
});

it("loads a place hours back, beyond the window, by its time", async () => {
  const start = T0 - 5 * HOUR;
  await removed(start);
  const errors = Array.from({ length: 18_000 }, (_unused, i) => (i === 9000 ? 1 : 0));
  const outline = { records: 18_000, upto: 17_999, first: ns(start), last: ns(T0), start: ns(start), width: "1000000000", lines: Array.from({ length: 18_000 }, () => 1), errors, counted: 18_000, notices: [] };
  const record = (i: number): object => ({ seq: i, time: new Date(start + i * 1000).toISOString(), pod: W0.pod, container: "main", run: 0, stream: "stdout", text: `step ${i}` });
  server.answer = (url: URL) => {
    if (url.pathname.endsWith("/outline")) return Response.json(outline);
    const from = Math.max(0, Math.floor((Date.parse(url.searchParams.get("at")!) - start) / 1000) - 50);
    return Response.json({ records: Array.from({ length: 2000 }, (_unused, i) => record(from + i)), older: from > 0 ? "o" : null, newer: "n" });
  };
  await server.send(sse("status", { task: TASK, state: "running", older: "o", from: ns(T0 - 60_000) }) + sse("log", logEvent(17_990, [[T0 - 10_000, 1, "newest"]]), "c1"));
  await settle();
  await vi.advanceTimersByTimeAsync(2000);
  expect(texts()).toContain("step 160");
  expect(last().seekRow).toBeUndefined();
  // An error that is counted but not loaded has its tick at the scroll bar.
  expect(updates.findLast(({ ticks }) => ticks)!.ticks).toEqual({ errors: [TICKS / 2], found: [] });
});

it("splits the bars of what is loaded, without searching again; of the rest the server counts warnings and errors", async () => {
  const outline = { records: 100, upto: 99, first: ns(T0 - 100_000), last: ns(T0), start: ns(T0 - 100_000), width: "1000000000", lines: Array.from({ length: 100 }, () => 1), errors: Array.from({ length: 100 }, (_unused, i) => Number(i === 5)), warnings: Array.from({ length: 100 }, () => 0), counted: 100, notices: [] };
  const sums = (): [string, number][] => updates.findLast(({ histogram }) => histogram)!.histogram!.parts!.map(({ name, lines }) => [name, lines.reduce((a, b) => a + b)]);
  const filter = (plain: object): void => engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", ...plain }).filter });
  open("all", "1m");
  await settle();
  server.answer = (url: URL) => (url.pathname.endsWith("/outline") ? Response.json(outline) : (new Promise(() => {}) as unknown as Response));
  await server.send(sse("status", { task: TASK, state: "running", older: "o", from: ns(T0 - 2000) }) + sse("log", logEvent(98, [[T0 - 2000, 1, "INFO needle"], [T0 - 1000, 2, "DEBUG y"]]), "c1"));
  await vi.advanceTimersByTimeAsync(2000);
  expect(updates.findLast(({ histogram }) => histogram)!.histogram!.parts).toBeUndefined();
  filter({ split: "level" });
  await vi.advanceTimersByTimeAsync(1000);
  expect(sums().toSorted()).toEqual([["debug", 1], ["error", 1], ["info", 1]]);
  filter({ split: "pod" });
  await vi.advanceTimersByTimeAsync(1000);
  expect(sums()).toEqual([[`${TASK}/${W0.pod}`, 1], [`${TASK}/${W1.pod}`, 1]]);
  const searches = (): number => server.requests.filter(({ url }) => url.pathname.endsWith("/search")).length;
  filter({ split: "pod", grep: ["needle", "INFO"] });
  await vi.advanceTimersByTimeAsync(1000);
  expect([sums(), searches()]).toEqual([[[`${TASK}/${W0.pod}`, 1]], 1]);
  filter({ split: "level", grep: ["needle", "INFO"] });
  await vi.advanceTimersByTimeAsync(1000);
  expect([sums(), searches()]).toEqual([[["info", 1]], 1]);
});

it.each([false, true])("a page whose cursor has expired reloads the window (task ended: %s)", async (ended) => {
  open("all", "1m");
  await settle();
  await server.send(sse("status", { task: TASK, state: "running", older: "o", from: ns(T0 - 60_000) }, "a0") + sse("log", line(5, "one"), "a1"));
  if (ended) await server.send(sse("end", { task: TASK, seq: 6, time: ns(T0), state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "a2"));
  server.answer = failure(410, "CursorNotHeld", "The store lost the lines at this cursor");
  await vi.advanceTimersByTimeAsync(1100);
  const before = streams().length;
  engine.receive({ op: "loadOlder", view: "v1" });
  await settle();
  server.answer = undefined;
  await vi.advanceTimersByTimeAsync(1100);
  expect(streams().length).toBeGreaterThan(before);
  expect(streams().at(-1)!.has("cursor")).toBe(false);
  await server.send(sse("log", line(0, "anew"), "c1"));
  expect(texts()).toEqual(["anew"]);
  expect(JSON.stringify(last().rows)).toContain("The store lost the lines at this cursor; the window was loaded again");
});

it("a fold that began before the window stays in it as long as it grows", async () => {
  engine.receive({ op: "subscribe", model: "m1", tasks: [TASK], transport: "auto", since: "1m" });
  const { filter } = fromPlain({ since: "1m" });
  engine.receive({ op: "view", view: "v1", model: "m1", filter: { ...filter, equalLines: "exact" }, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
  await settle();
  await server.send(sse("log", line(0, "begins")));
  for (let i = 1; i < 120; i++) {
    await server.send(sse("log", line(i, "waiting for the others")));
    await vi.advanceTimersByTimeAsync(1000);
  }
  expect(texts()).toEqual(["waiting for the others"]);
  expect(last().rows.find(({ kind }) => kind === "line")!.repeats).toBe(119);
  // When it has not grown for a minute, it has left the window.
  await server.send(sse("log", line(120, "goes on")));
  await vi.advanceTimersByTimeAsync(70_000);
  await server.send(sse("log", line(121, "and on")));
  await vi.advanceTimersByTimeAsync(1000);
  expect(texts()).toEqual(["and on"]);
});

it("an expired cursor of one of several tasks leaves the others alone", async () => {
  const other = "ml:job/score";
  open();
  engine.receive({ op: "subscribe", model: "m2", tasks: [other], transport: "auto", since: "1m" });
  await settle();
  await server.send(sse("log", line(0, "one"), "a1,") + sse("log", logEvent(0, [[T0, 1, "score"]], other), "a1,b1"));
  await server.send(sse("error", { task: TASK, code: "CursorNotHeld", message: "The recording was removed" }));
  await settle();
  expect(streams().at(-1)!.get("cursor")).toBe(",b1");
  await server.send(sse("log", line(0, "anew"), "c1,b1"));
  expect(texts()).toEqual(["anew"]);
  expect(last().problem).toBeNull();
});

it("estimates the nodes' clock from statuses and heartbeats, using the least delayed", async () => {
  open();
  await settle();
  expect(last().clockAhead).toBe(0);
  await server.send(sse("status", { task: TASK, state: "running", message: "", now: ns(T0 + 3200) }) + `: hb ${ns(T0 + 1000)}\n`);
  expect(Math.round(last().clockAhead / 100)).toBe(32);
  expect(describeClock(last().clockAhead)).toBe("clock of the cluster is 3.2 s ahead");
  expect(describeClock(-2500)).toBe("clock of the cluster is 2.5 s behind");
  expect(describeClock(1900)).toBe("");
});

it("the completeness statement of an ended task is the server's count", async () => {
  open();
  await settle();
  const complete: Complete = { records: 1_203_441, from: "2026-07-01T10:00:01.5Z", to: "2026-07-01T11:12:44Z", sources: 2, done: true, gaps: [] };
  server.answer = () => Response.json({ records: [], complete });
  await server.send(sse("log", line(0, "x"), "a1") + sse("end", { task: TASK, seq: 1, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "a2"));
  expect(last().tasks[0].complete).toEqual(complete);
  const local = (text: string): string => new Date(text).toTimeString().slice(0, 8);
  expect(describeCompleteness(last().tasks).replaceAll("\u202f", " ")).toBe(`1 203 441 lines, ${local("2026-07-01T10:00:01Z")} to ${local("2026-07-01T11:12:44Z")}, 2 sources, complete`);
  const secret = [{ ...last().tasks[0], complete: { ...complete, masked: { "E-mail": 2, "GitHub Token": 1 } } }] as TaskSummary[];
  expect(describeCompleteness(secret)).toContain("2 sources, 3 secrets masked, complete");
  const gap = { task: TASK, from: ns(T0), to: ns(T0 + 1), reason: "rotated away" };
  const holed = [{ ...last().tasks[0], complete: { ...complete, gaps: [gap] } }] as TaskSummary[];
  expect(describeCompleteness(holed)).not.toContain("complete");
});

describe("what a recorder adds later", () => {
  const filter = fromPlain({ since: "all" }).filter;

  it("older lines of a run come as another source of the same name: one entry, ordered by time", () => {
    const store = new TaskStore(TASK);
    store.addLog({ ...logEvent(0, [[T0, 1, "now"], [T0 + 1, 1, "later"]]), sources: { 1: W0 } });
    store.addLog({ ...logEvent(2, [[T0 - 2000, 2, "old 1"], [T0 - 1000, 2, "old 2"]]), sources: { 2: W0 } });
    store.addLog({ ...logEvent(4, [[T0 + 2, 1, "newest"]]), sources: { 1: W0 } });
    const selection = new Selection([store], filter);
    expect(Array.from({ length: 5 }, (_unused, i) => store.texts[selection.all.at(i)])).toEqual(["old 1", "old 2", "now", "later", "newest"]);
    expect(store.sources).toHaveLength(1);
  });

  it("a state that the header shows gets no row; a warning and its hint do", () => {
    const store = new TaskStore(TASK);
    store.addStatus({ task: TASK, seq: 0, notice: "state", state: "running", message: "Running" });
    expect([store.rows, store.state]).toEqual([0, "running"]);
    store.addStatus({ task: TASK, seq: 1, notice: "event", message: "p: BackOff: restarting", reason: "BackOff", level: "warning" });
    store.addStatus({ task: TASK, seq: 2, notice: "backfill", source: W0, message: `${W0.pod} · main: older lines cannot be read`, hint: "allow it" });
    expect(store.texts).toEqual(["p: BackOff: restarting", `${W0.pod} · main: older lines cannot be read`]);
    expect(store.hints.get(1)).toBe("allow it");
  });
});

it.each([
  ["/(?i)LOSS/", "loss=1", true], ["/LOSS/", "loss=1", false], ["/(?P<a>x)(?P=a)/", "xx", true], [String.raw`/\Aloss/`, "no loss", false], [String.raw`/done\Z/`, "is done", true], [String.raw`/\\A/`, String.raw`C:\A`, true],
])("Python's pattern %s on %s: %s", (grep, text, holds) => {
  const matcher = compileFilter({ grep, regex: false, exclude: [] });
  expect([matcher.error, matcher.test(text)]).toEqual(["", holds]);
});

it.each([[new Date(T0 - 10_000).toISOString(), ["first", "second", "third"]], ["10s", ["third"]]])("a window since %s after half a minute", async (since, shown) => {
  open(since);
  await settle();
  await server.send(sse("log", logEvent(0, [[T0 - 11_000, 1, "before"], [T0 - 9000, 1, "first"], [T0, 1, "second"]])));
  await vi.advanceTimersByTimeAsync(200);
  expect(texts()).toEqual(["first", "second"]);
  await vi.advanceTimersByTimeAsync(30_000);
  await server.send(sse("log", line(3, "third")));
  await vi.advanceTimersByTimeAsync(1000);
  expect(texts()).toEqual(shown);
});

it("a stream that the server slows down is behind, not an error", async () => {
  open();
  await settle();
  await server.send(`${sse("log", line(0, "one"))}: behind 12400\n`);
  await vi.advanceTimersByTimeAsync(1000);
  expect(last()).toMatchObject({ link: "live", problem: null });
  expect(describeState(last(), true)).toEqual(["Live", "idle", ", 12\u202f400 lines behind: the server cannot send faster"]);
  await server.send(": behind 0\n");
  await vi.advanceTimersByTimeAsync(1000);
  expect(describeState(last(), true)[0]).toBe("Live");
  expect(describeState({ ...last(), transport: "comm", linesBehind: 900 }, true)[2]).toBe(", 900 lines behind: the kernel is busy, or the connection slow");
});

it("a full disk is reported in the bar and in a row, until there is room", async () => {
  const state = (seq: number, message: string, reason: string): string => sse("status", { task: TASK, seq, time: ns(Date.now()), notice: "state", state: "running", message, reason });
  const full = "Recording stopped: the disk is full; it goes on when there is room";
  open();
  await settle();
  await server.send(sse("log", line(0, "one")) + state(1, full, "StoreFull"));
  await vi.advanceTimersByTimeAsync(1000);
  expect(describeState(last(), true)).toEqual([full, "bad"]);
  expect(last().rows.map(({ text }) => text)).toEqual(["Beginning of the log", "one", full]);
  expect(last().rows[2].level).toBe(5);
  await server.send(state(2, "Running", "") + sse("log", line(3, "two")));
  await vi.advanceTimersByTimeAsync(1000);
  expect(describeState(last(), true)[0]).toBe("Live");
  expect(last().rows.map(({ text }) => text).slice(2)).toEqual([full, "There is room again: recording goes on", "two"]);
});

it.each([
  ["NotAllowed", "Log not available yet: you may not read logs in namespace 'ml': the right `get pods/log` is missing"],
  ["ClusterUnreachable", "The cluster cannot be asked: it does not answer; this is what is recorded"],
])("an obstacle (%s) is reported in the bar and in the empty pane, until it is gone", async (reason, message) => {
  open();
  await settle();
  server.answer = failure(404, "NotFound", "no outline");
  await server.send(sse("status", { task: TASK, state: "succeeded", message, reason }));
  await vi.advanceTimersByTimeAsync(1000);
  expect(describeState(last(), true)).toEqual([message, "bad"]);
  expect(describeEmpty(last(), { since: 60_000, from: null })).toBe(message);
  await server.send(sse("status", { task: TASK, state: "running", message: "Running", reason: "" }) + sse("log", line(0, "one")));
  await vi.advanceTimersByTimeAsync(1000);
  expect(describeState(last(), true)[0]).toBe("Live");
  expect(describeEmpty(last(), { since: 60_000, from: null })).toBe("");
});

it("what the user may not see beside the lines is named", async () => {
  const events = "events are not shown: the right `list events` is missing";
  open();
  await settle();
  server.answer = failure(404, "NotFound", "no outline");
  await server.send(sse("status", { task: TASK, state: "running", message: "Running", hidden: { events } }) + sse("log", line(0, "one")));
  await vi.advanceTimersByTimeAsync(1000);
  expect(last().tasks[0].hidden).toEqual({ events });
  expect(describeHidden(last().tasks[0].hidden!)).toBe("without events");
  expect(describeHidden({})).toBe("");
});

function openTasks(count: number): string[] {
  const tasks = Array.from({ length: count }, (_unused, i) => `default:job/train-${i}`);
  engine.receive({ op: "subscribe", model: "m1", tasks, transport: "auto", since: "1m" });
  engine.receive({ op: "view", view: "v1", model: "m1", filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 500, follow: true, anchor: null, anchorIndex: 0 } });
  return tasks;
}

async function sendOneLineEach(tasks: string[]): Promise<void> {
  await settle();
  await server.send(tasks.map((task, i) => sse("log", logEvent(0, [[T0 + i, 1, `of ${i}`]], task), "a1")).join(""));
}

it("50 tasks in one view show each its own lines", async () => {
  const tasks = openTasks(50);
  await sendOneLineEach(tasks);
  expect(texts()).toEqual(tasks.map((_unused, i) => `of ${i}`));
  engine.receive({ op: "filter", view: "v1", filter: fromPlain({ since: "all", grep: "of 4" }).filter });
  await settle();
  expect(texts()).toEqual(["of 4", ...Array.from({ length: 10 }, (_unused, i) => `of 4${i}`)]);
  expect(last().problem).toBeNull();
});

it("more tasks than a view can tell apart are not mixed up: the view says which it leaves out", async () => {
  const tasks = openTasks(300);
  await sendOneLineEach(tasks);
  expect(texts()).toEqual(tasks.slice(0, 256).map((_unused, i) => `of ${i}`));
  expect(last().problem).toMatchObject({ code: "TooManyTasks", message: "A viewer shows at most 256 tasks, so 44 of these 300 are left out", hint: "Open a second viewer for the others." });
});

describe("a view that could not be updated", () => {
  /** Let the updates of one view fail from now on. Returns a function that ends it. */
  function breakView(id: string): () => void {
    const update = View.prototype.update;
    const broken = vi.spyOn(View.prototype, "update").mockImplementation(function (this: View, context) {
      if (this.id === id) throw new Error("a fault");
      return update.call(this, context);
    });
    return () => broken.mockRestore();
  }

  it("shows the next lines", async () => {
    open();
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    const mend = breakView("v1");
    expect(() => engine.receive({ op: "find", view: "v1", term: "x" })).toThrow("a fault");
    mend();
    await server.send(sse("log", line(1, "two"), "a2"));
    expect(texts()).toEqual(["one", "two"]);
  });

  it("does not stop another one", async () => {
    open();
    engine.receive({ op: "view", view: "v2", model: "m1", filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
    await settle();
    await server.send(sse("log", line(0, "one"), "a1"));
    await settle();
    const mend = breakView("v2");
    // The rate of lines falls, so both are drawn again.
    await expect(vi.advanceTimersByTimeAsync(10_000)).rejects.toThrow("a fault");
    mend();
    await server.send(sse("log", line(1, "two"), "a2"));
    const shown = updates.findLast(({ view }) => view === "v1")!.rows;
    expect(shown.map(({ text }) => text)).toContain("two");
  });
});
