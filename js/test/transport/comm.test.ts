import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { CommLink } from "../../src/transport/comm.ts";
import type { LinkHost } from "../../src/transport/link.ts";
import { bytesOf, sse, TASK } from "../helpers.ts";

let sent: Record<string, unknown>[];
let events: string[];
let states: string[];
let cursor: string;
let lost: string[][];
let link: CommLink;
let host: LinkHost;
const ended = new Set<string>();

beforeEach(() => {
  vi.useFakeTimers();
  [sent, events, states, lost, cursor] = [[], [], [], [], ""];
  ended.clear();
  host = {
    cursorOf: () => cursor,
    sinceOf: () => "1m",
    isEnded: (task) => ended.has(task),
    onEvent: ({ event, data, id }) => {
      events.push(`${event} ${data}`);
      if (event === "end") ended.add(TASK);
      if (id) cursor = id;
    },
    onChunk: () => {},
    onState: (state, problem) => void states.push(problem ? `${state}: ${problem.message}` : state),
    onCursorLost: (tasks) => {
      lost.push(tasks);
      cursor = "";
    },
  };
  link = new CommLink(host, (message) => sent.push(message));
});

afterEach(() => void vi.useRealTimers());

const receive = (n: number, text: string): void => link.receive({ type: "bytes", n }, bytesOf(text));

it("acknowledges stored messages in time and in groups, so that the kernel can count what is on its way", async () => {
  link.setTasks([TASK]);
  expect(sent).toEqual([{ type: "open", stream: 1, tasks: [TASK], since: "1m", most: 20_000 }]);
  const text = sse("log", { task: TASK }, "a1");
  receive(1, text.slice(0, 20));
  expect(events).toEqual([]);
  receive(2, text.slice(20));
  expect(events).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(50);
  expect(sent.slice(1)).toEqual([{ type: "ack", n: 2 }]);
  for (let n = 3; n <= 10; n++) receive(n, text);
  expect(sent.slice(2)).toEqual([{ type: "ack", n: 6 }, { type: "ack", n: 10 }]);
  expect(states).toEqual(["waiting", "live"]);
});

it("passes on how far the page is behind, and takes it as a sign of life", async () => {
  const behind: number[] = [];
  link = new CommLink({ ...host, onBehind: (lines) => void behind.push(lines) }, (message) => sent.push(message));
  link.setTasks([TASK]);
  receive(1, sse("log", { task: TASK }, "a1"));
  for (let second = 0; second < 60; second++) {
    await vi.advanceTimersByTimeAsync(1000);
    link.receive({ type: "behind", stream: 1, lines: second < 59 ? 900 : 0 });
  }
  link.receive({ type: "behind", stream: 0, lines: 7 });
  expect([behind[0], behind.at(-1), behind.length]).toEqual([900, 0, 60]);
  expect(sent.filter(({ type }) => type === "open")).toHaveLength(1);
});

it("asks a busy kernel again every 5 s, and a silent one by cursor", async () => {
  link.setTasks([TASK]);
  await vi.advanceTimersByTimeAsync(11_000);
  expect(sent.filter(({ type }) => type === "open")).toHaveLength(3);
  receive(1, sse("log", { task: TASK }, "a1"));
  await vi.advanceTimersByTimeAsync(44_000);
  expect(sent.filter(({ type }) => type === "open")).toHaveLength(3);
  await vi.advanceTimersByTimeAsync(2000);
  expect(sent.at(-1)).toEqual({ type: "open", stream: 2, tasks: [TASK], cursor: "a1" });
  expect(states.at(-1)).toBe("waiting");
});

it("asks again when the page wakes up after a silence, and keeps a live stream", async () => {
  link.setTasks([TASK]);
  receive(1, sse("log", { task: TASK }, "a1"));
  link.wake();
  expect(sent.filter(({ type }) => type === "open")).toHaveLength(1);
  vi.setSystemTime(Date.now() + 3_600_000);
  link.wake();
  expect(sent.at(-1)).toEqual({ type: "open", stream: 2, tasks: [TASK], cursor: "a1" });
});

it("does not join the rest of an old stream to a new one", () => {
  link.setTasks([TASK]);
  receive(1, "event: log\ndata: {half");
  receive(1, sse("log", { whole: true }, "a1"));
  expect(events).toEqual(['log {"whole":true}']);
});

it("ignores messages of an earlier stream, and takes an answer to any request for the next", async () => {
  link.setTasks([TASK]);
  link.receive({ type: "bytes", stream: 1, n: 1 }, bytesOf(sse("log", { n: 1 }, "a1")));
  vi.setSystemTime(Date.now() + 3_600_000);
  link.wake();
  await vi.advanceTimersByTimeAsync(6000);
  expect(sent.filter(({ type }) => type === "open").map(({ stream }) => stream)).toEqual([1, 2, 2]);
  link.receive({ type: "bytes", stream: 1, n: 2 }, bytesOf(sse("log", { n: 2 }, "a2")));
  link.receive({ type: "error", stream: 1, error: { code: "TaskNotFound", message: "no such task" } });
  expect(states.at(-1)).toBe("waiting");
  link.receive({ type: "bytes", stream: 2, n: 1 }, bytesOf(sse("log", { n: 9 }, "a9")));
  expect(events).toEqual(['log {"n":1}', 'log {"n":9}']);
});

it("stops where retrying cannot help, and starts over where the cursor has expired", () => {
  link.setTasks([TASK]);
  link.receive({ type: "error", error: { code: "TaskNotFound", message: "no such task" } });
  expect(states.at(-1)).toBe("stopped: no such task");
  link.receive({ type: "error", error: { code: "RecordingDeleted", message: "it was deleted" } });
  expect(states.at(-1)).toBe("stopped: it was deleted");
  cursor = "a9";
  link.receive({ type: "error", error: { code: "CursorNotHeld", message: "gone" } });
  expect(lost).toEqual([[TASK]]);
  expect(sent.at(-1)).toEqual({ type: "open", stream: 2, tasks: [TASK], since: "1m", most: 20_000 });
});

it("is done at the end, and sends nothing more", async () => {
  link.setTasks([TASK]);
  receive(1, sse("end", { task: TASK }, "a1"));
  await vi.advanceTimersByTimeAsync(50);
  const count = sent.length;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(states.at(-1)).toBe("done");
  expect(sent).toHaveLength(count);
});

it("numbers its page requests, and gets an answer or an error", async () => {
  const query = { before: "o1", limit: 2000, since: "all" };
  const one = link.page(TASK, query);
  const two = link.page(TASK, query);
  expect(sent).toEqual([{ type: "page", id: 1, task: TASK, query }, { type: "page", id: 2, task: TASK, query }]);
  link.receive({ type: "page", id: 2, page: { records: [], older: null } });
  link.receive({ type: "page", id: 1, error: { code: "X", message: "no" } });
  await expect(two).resolves.toEqual({ records: [], older: null });
  await expect(one).rejects.toThrow("no");
});

it("ends searches and metrics with a message if the kernel was restarted, but not while it still searches", async () => {
  const sink = { event: vi.fn(), end: vi.fn() };
  const query = { grep: ["x"], exclude: [], where: [], since: "", until: "" };
  link.search(TASK, query, sink);
  for (let minute = 0; minute < 10; minute++) {
    await vi.advanceTimersByTimeAsync(60_000);
    link.receive({ type: "found", id: 1 }, bytesOf(sse("progress", { to: "1" })));
  }
  expect(sink.event).toHaveBeenCalledTimes(10);
  link.metrics(TASK, sink);
  const stop = link.search(TASK, query, sink);
  stop();
  expect(sink.end).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(100_000);
  expect(sink.end.mock.calls).toEqual(Array.from({ length: 2 }, () => [{ code: "Timeout", message: expect.stringMatching(/^The kernel sent nothing for 90 s/) as string }]));
  link.receive({ type: "found", id: 1 }, bytesOf(sse("progress", { to: "2" })));
  link.receive({ type: "found", id: 1, done: true });
  expect([sink.event.mock.calls.length, sink.end.mock.calls.length]).toEqual([10, 2]);
  // A kernel that was only busy need not go on.
  expect(sent.filter(({ type }) => type === "stop").map(({ id }) => id)).toEqual([3, 1, 2]);
});

it("ends searches of other viewers with a message when its own is closed", async () => {
  const sink = { event: vi.fn(), end: vi.fn() };
  link.metrics(TASK, sink);
  link.close();
  await vi.advanceTimersByTimeAsync(100_000);
  expect(sink.end.mock.calls).toEqual([[{ code: "Closed", message: "The answer was cut off: the viewer that it came through was closed" }]]);
});
