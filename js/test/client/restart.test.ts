// @vitest-environment happy-dom
/** What a reader sees of a worker that hangs and is replaced. The worker is the real one. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Session } from "../../src/client/session.ts";
import type { StoreClient } from "../../src/client/storeclient.ts";
import { Viewer } from "../../src/ui/viewer.ts";
import { type FakeModel, fakeModel, type Line, logEvent, sse, T0, TASK } from "../helpers.ts";
import { chartCode, realClient, stopWorkers, workersStarted } from "../realworker.ts";
import { loadPanels } from "../page.ts";

/** Backtracks for years on `STUCK`. */
const RUNAWAY = "/(a+)+$/";
const STUCK = `${"a".repeat(60)}!`;

interface Cell {
  model: FakeModel;
  session: Session;
  viewer: Viewer;
}

let client: StoreClient;
let cells: Cell[];

const wait = <T>(check: () => T): Promise<T> => vi.waitFor(check, { timeout: 20_000, interval: 20 });
const shownError = ({ viewer }: Cell): string => viewer.root.querySelector(".cl-problem:not([hidden])")?.textContent ?? "";
const rowsOf = ({ viewer }: Cell): string[] => [...viewer.root.querySelectorAll("[data-seq] .cl-m")].map((element) => element.textContent ?? "");

function open(task = TASK, traits: Record<string, unknown> = {}): Cell {
  const model = fakeModel({ tasks: [task], ...traits });
  const session = new Session(model, client);
  const viewer = new Viewer(client, session, loadPanels);
  session.views.add(viewer);
  document.body.append(viewer.root);
  const cell = { model, session, viewer };
  cells.push(cell);
  return cell;
}

/** The kernel answers the newest stream of a viewer with the whole log. */
async function answer({ model }: Cell, lines: Line[], opens = 1, task = TASK): Promise<void> {
  await wait(() => expect(model.sent.filter(({ type }) => type === "open").length).toBeGreaterThanOrEqual(opens));
  // The lines come in several parts, as from a server.
  for (let at = 0; at < lines.length; at += 500) {
    model.bytes(sse("log", logEvent(at, lines.slice(at, at + 500), task), `c${at}`));
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const lines = (n: number, last = ""): Line[] => Array.from({ length: n }, (_unused, i): Line => [T0 + i * 1000, 1, i === n - 1 && last ? last : `line ${i}`]);

beforeEach(async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  cells = [];
  client = await realClient();
});

afterEach(() => {
  for (const { session } of cells) session.close();
  document.body.replaceChildren();
  stopWorkers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("a worker that hangs on a regular expression", () => {
  it("is replaced, and a reader of a row beyond the first 1024 keeps the place", async () => {
    const paused = open();
    const log = lines(3000, STUCK);
    await answer(paused, log);
    await wait(() => expect(rowsOf(paused).at(-1)).toBe(STUCK));
    paused.session.setTrait("follow", false);
    paused.model.emit("change:follow");
    client.jump("v2", { to: "time", time: T0 + 1700 * 1000 });
    await wait(() => expect(rowsOf(paused)).toContain("line 1700"));
    const before = rowsOf(paused);
    const other = open();
    other.session.change({ include: [RUNAWAY] });
    await wait(() => expect(workersStarted()).toBe(2));
    await answer(paused, log, 2);
    await wait(() => expect(rowsOf(other).at(-1)).toBe(STUCK));
    await wait(() => expect(rowsOf(paused)).toEqual(before));
    // The new worker answers.
    other.session.change({ include: ["line 77"] });
    await wait(() => expect(rowsOf(other)).toEqual(["line 77", ...Array.from({ length: 10 }, (_unused, i) => `line 77${i}`)]));
  });

  it("is replaced, and only the view whose regular expression it was loses it", async () => {
    const TASK_B = "default:job/train-2";
    const [slow, harmless] = [open(), open(TASK_B)];
    slow.session.change({ include: [RUNAWAY] });
    harmless.session.change({ include: ["/line 1./"] });
    await answer(slow, lines(3));
    await answer(harmless, lines(30), 1, TASK_B);
    const filtered = Array.from({ length: 10 }, (_unused, i) => `line 1${i}`);
    await wait(() => expect(rowsOf(harmless)).toEqual(filtered));
    // Lines arrive in the view that asked first, and the worker hangs on one of them.
    slow.model.bytes(sse("log", logEvent(3, [[T0 + 9000, 1, STUCK]]), "c3"));
    await wait(() => expect(workersStarted()).toBe(2));
    await answer(slow, lines(3, STUCK), 2);
    await answer(harmless, lines(30), 2, TASK_B);
    await wait(() => expect(rowsOf(slow)).toEqual(["line 0", "line 1", STUCK]));
    expect(slow.session.settings.filter.include).toEqual([]);
    expect(shownError(slow)).toContain(`The regular expression ${RUNAWAY} took too long`);
    expect(harmless.session.settings.filter.include).toEqual(["/line 1./"]);
    await wait(() => expect(rowsOf(harmless)).toEqual(filtered));
    expect(shownError(harmless)).toBe("");
    expect(workersStarted()).toBe(2);
  });
});

describe("rows with the text of others", () => {
  const alike = (at: number): Line[] => Array.from({ length: 5 }, (_unused, i): Line => [T0 + (at + i) * 1000, 1, "tick"]);
  const numbersOf = ({ viewer }: Cell): (string | null)[] => [...viewer.root.querySelectorAll("[data-seq]")].map((element) => element.getAttribute("data-seq"));
  const timesOf = ({ viewer }: Cell): (string | null)[] => [...viewer.root.querySelectorAll("[data-seq] .cl-t")].map((element) => element.getAttribute("title"));
  const send = ({ model }: Cell, seq: number, task = TASK): void => model.bytes(sse("log", logEvent(seq, alike(seq), task), "c1"));
  const expected = (at: number): string[] => alike(at).map(([time]) => new Date(time).toISOString());

  it("have the numbers and times of the new worker's lines", async () => {
    const cell = open();
    await answer(cell, alike(0));
    await wait(() => expect(numbersOf(cell)).toEqual(["0", "1", "2", "3", "4"]));
    cell.session.change({ include: [RUNAWAY] });
    cell.model.bytes(sse("log", logEvent(5, [[T0 + 9000, 1, STUCK]]), "c5"));
    await wait(() => expect(workersStarted()).toBe(2));
    await answer(cell, [], 2);
    send(cell, 100);
    await wait(() => expect(numbersOf(cell)).toEqual(["100", "101", "102", "103", "104"]));
    expect(timesOf(cell)).toEqual(expected(100));
  });

  it("have the numbers and times of other tasks", async () => {
    const [cell, holder] = [open(), open("default:job/train-2")];
    await answer(holder, [], 1);
    send(holder, 100, "default:job/train-2");
    await wait(() => expect(numbersOf(holder)).toHaveLength(5));
    await answer(cell, alike(0));
    await wait(() => expect(numbersOf(cell)).toEqual(["0", "1", "2", "3", "4"]));
    cell.model.set("tasks", ["default:job/train-2"]);
    cell.model.emit("change:tasks");
    await wait(() => expect(numbersOf(cell)).toEqual(["100", "101", "102", "103", "104"]));
    expect(timesOf(cell)).toEqual(expected(100));
  });
});

it("a copy that was asked of a worker that hangs ends with a message, and the next one works", async () => {
  const copied: string[] = [];
  vi.stubGlobal("navigator", { clipboard: { writeText: async (text: string) => void copied.push(text) } });
  const cell = open();
  await answer(cell, lines(3, STUCK));
  await wait(() => expect(rowsOf(cell)).toHaveLength(3));
  cell.session.change({ include: [RUNAWAY] });
  const press = (): unknown => cell.viewer.root.querySelector(".cl-rows")!.dispatchEvent(new KeyboardEvent("keydown", { key: "y", bubbles: true, cancelable: true }));
  press();
  await wait(() => expect(workersStarted()).toBe(2));
  await wait(() => expect(shownError(cell)).toContain("Could not copy"));
  await answer(cell, lines(3, STUCK), 2);
  await wait(() => expect(rowsOf(cell)).toHaveLength(3));
  press();
  await wait(() => expect(copied).toEqual(["line 0\n"]));
});

it("a find that hangs is stopped, and a regular expression of the filter stays", async () => {
  const cell = open();
  cell.session.change({ include: ["/line|a/"] });
  await answer(cell, lines(3, STUCK));
  await wait(() => expect(rowsOf(cell)).toHaveLength(3));
  cell.viewer.root.querySelector<HTMLElement>('[aria-label^="Find without"]')!.click();
  const box = cell.viewer.root.querySelector<HTMLInputElement>("input[type=search]")!;
  box.value = RUNAWAY;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  await wait(() => expect(workersStarted()).toBe(2));
  await answer(cell, lines(3, STUCK), 2);
  await wait(() => expect(rowsOf(cell)).toHaveLength(3));
  expect(cell.session.settings.filter.include).toEqual(["/line|a/"]);
  expect(shownError(cell)).toContain("The regular expression that was sought took too long");
  cell.session.change({ include: ["line 1"] });
  await wait(() => expect(rowsOf(cell)).toEqual(["line 1"]));
});

describe("the code for charts", () => {
  const metricsOf = ({ viewer }: Cell): string[] => [...viewer.root.querySelectorAll(".cl-pn")].map((element) => element.textContent ?? "");
  const chartText = ({ viewer }: Cell): string => viewer.root.querySelector(".cl-chart p:not([hidden])")?.textContent ?? "";
  const values = (name: string): Line[] => Array.from({ length: 5 }, (_unused, i): Line => [T0 + i * 1000, 1, `${name}=${i}`]);

  it("is sent to a worker once, when the first chart is shown, and again to the worker that replaces it", async () => {
    const read = vi.fn(chartCode);
    client = await realClient(read);
    const [plain, charted] = [open(), open()];
    await answer(plain, values("loss"));
    await wait(() => expect(rowsOf(charted)).toHaveLength(5));
    expect(read).not.toHaveBeenCalled();
    for (const { session } of [charted, open(TASK, { chart: "step" })]) session.change({ chart: "time" });
    await wait(() => expect(cells.map(metricsOf)).toEqual([[], ["loss"], ["loss"]]));
    charted.session.change({ chart: "" });
    charted.session.change({ chart: "time" });
    plain.session.change({ include: [RUNAWAY] });
    expect(read).toHaveBeenCalledTimes(1);
    plain.model.bytes(sse("log", logEvent(5, [[T0 + 9000, 1, STUCK]]), "c5"));
    await wait(() => expect(workersStarted()).toBe(2));
    await answer(plain, values("acc"), 2);
    await wait(() => expect(cells.map(metricsOf)).toEqual([[], ["acc"], ["acc"]]));
    expect(read).toHaveBeenCalledTimes(2);
  });

  it.each([
    ["cannot be read", () => Promise.reject(new Error("the server answered 404")), "the server answered 404"],
    ["cannot be started", () => Promise.resolve("throw new Error('forbidden here')"), "forbidden here"],
  ])("that %s is reported in the panel, and the lines stay; opening the chart again tries again", async (_name, fail, reason) => {
    const read = vi.fn(chartCode).mockImplementationOnce(fail);
    client = await realClient(read);
    const cell = open(TASK, { chart: "time" });
    await answer(cell, values("loss"));
    await wait(() => expect(chartText(cell)).toBe(`The code for charts could not be loaded: ${reason}. Close the chart and open it again, or reload the page.`));
    await wait(() => expect(rowsOf(cell)).toHaveLength(5));
    cell.session.change({ include: ["=3"] });
    await wait(() => expect(rowsOf(cell)).toHaveLength(1));
    expect([shownError(cell), metricsOf(cell)]).toEqual(["", []]);
    cell.session.change({ chart: "" });
    cell.session.change({ chart: "time" });
    await wait(() => expect(metricsOf(cell)).toEqual(["loss"]));
    expect(chartText(cell)).toBe("");
  });
});

it("a worker survives the id of a row that it does not have", async () => {
  const cell = open();
  await answer(cell, lines(3));
  await wait(() => expect(rowsOf(cell)).toHaveLength(3));
  for (const anchor of [5000, 2 ** 24 + 7]) client.setViewport("v2", { from: 0, count: 50, follow: false, anchor, anchorIndex: 0 });
  cell.model.bytes(sse("log", logEvent(3, [[T0 + 9000, 1, "the fourth"]]), "c3"));
  await wait(() => expect(rowsOf(cell).at(-1)).toBe("the fourth"));
});
