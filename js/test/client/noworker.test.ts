// @vitest-environment happy-dom
/** A page whose policy forbids workers: the real store's code runs in the page itself, and nothing can interrupt it. */
import { afterEach, beforeEach, expect, it, type MockInstance, vi } from "vitest";
import { Session } from "../../src/client/session.ts";
import { startStore, StoreClient } from "../../src/client/storeclient.ts";
import { Viewer } from "../../src/ui/viewer.ts";
import { type FakeModel, fakeModel, type Line, logEvent, sse, T0 } from "../helpers.ts";
import { chartCode, storeCode, stubWorkers } from "../realworker.ts";
import { loadPanels } from "../page.ts";

const STUCK = `${"a".repeat(60)}!`;

let client: StoreClient;
let model: FakeModel;
let session: Session;
let viewer: Viewer;
let intervals: MockInstance<typeof setInterval>;

const wait = <T>(check: () => T): Promise<T> => vi.waitFor(check, { timeout: 20_000, interval: 20 });
const rows = (): string[] => [...viewer.root.querySelectorAll("[data-seq] .cl-m")].map((element) => element.textContent ?? "");
const filterError = (): string => viewer.root.querySelector(".cl-filter .cl-le, .cl-bar .cl-le")?.textContent ?? "";

async function feed(from: number, ...texts: string[]): Promise<void> {
  await wait(() => expect(model.sent.length).toBeGreaterThan(0));
  model.bytes(sse("log", logEvent(from, texts.map((text, i): Line => [T0 + (from + i) * 1000, 1, text])), `c${from}`));
}

beforeEach(async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  intervals = vi.spyOn(globalThis, "setInterval");
  stubWorkers(function Worker() {
    throw new Error("refused by the Content-Security-Policy");
  });
  const code = await storeCode();
  client = new StoreClient((onMessage) => startStore(code, onMessage), chartCode);
  model = fakeModel();
  session = new Session(model, client);
  viewer = new Viewer(client, session, loadPanels);
  session.views.add(viewer);
  document.body.append(viewer.root);
});

afterEach(() => {
  session.close();
  document.body.replaceChildren();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it.each(["/(a+)+$/", "/(a|aa)*$/", "/^(\\w+\\s?)*$/", "/a*a*a*a*b/", "/(a*)\\1\\1b/"])("a regular expression that could freeze the page is not run: %s", async (term) => {
  await feed(0, "one", STUCK);
  await wait(() => expect(rows()).toEqual(["one", STUCK]));
  session.change({ include: [term] });
  await feed(2, STUCK, "two");
  await wait(() => expect(rows()).toEqual(["one", STUCK, STUCK, "two"]));
  expect(filterError()).toContain("could freeze the page");
});

it("regular expressions that end soon still filter, and plain texts of any kind", async () => {
  await feed(0, "step 1 loss=0.5", "step 2 grad=3", "step 30 loss=1.5", "(a+)+$");
  for (const [term, expected] of [
    ["/loss=\\d+\\.\\d/", ["step 1 loss=0.5", "step 30 loss=1.5"]],
    ["/^step (?:1|30) /", ["step 1 loss=0.5", "step 30 loss=1.5"]],
    ["/(?i)GRAD=[+*]?\\d$/", ["step 2 grad=3"]],
    ["(a+)+$", ["(a+)+$"]],
  ] as const) {
    session.change({ include: [term] });
    await wait(() => expect(rows()).toEqual(expected));
    expect(filterError()).toBe("");
  }
});

it("a line that is too long to be tested is shown", async () => {
  const long = `${"a".repeat(3000)} b`;
  await feed(0, long, "a b c", "d");
  session.change({ include: ["/a.*b.*c/"] });
  await wait(() => expect(rows()).toHaveLength(2));
  expect(rows()[1]).toBe("a b c");
});

it("charts are drawn here, too", async () => {
  await feed(0, "loss=2", "loss=1");
  session.change({ chart: "time" });
  await wait(() => expect(viewer.root.querySelector(".cl-pn")?.textContent).toBe("loss"));
});

it("the store is stopped with the last viewer", async () => {
  await feed(0, "one");
  await wait(() => expect(rows()).toEqual(["one"]));
  const ticker = intervals.mock.results[intervals.mock.calls.findIndex(([, ms]) => ms === 1000)].value as number;
  const cleared = vi.spyOn(globalThis, "clearInterval");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  session.close();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(cleared).toHaveBeenCalledWith(ticker);
});
