// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from "vitest";
import { Session, USER_DEFAULTS } from "../../src/client/session.ts";
import { engineHub, type FakeModel, fakeModel } from "../helpers.ts";

const sessions: Session[] = [];

/** The traits of a new widget, as Python makes it. */
const NEW = { time: "local", wrap: false, trim: false, columns: ["pod", "container"], newest_first: false, font_size: 12, fold: "", _stated: [], query: {} };
const DEFAULTS = { since: "10m", time: "utc", wrap: true, columns: ["pod"], font_size: 15, newest_first: true, fold: "masked", trim: true };

function open(traits: Record<string, unknown>): { model: FakeModel; session: Session } {
  const model = fakeModel({ ...NEW, ...traits });
  const session = new Session(model, engineHub());
  sessions.push(session);
  return { model, session };
}

afterEach(() => {
  for (const session of sessions.splice(0)) session.close();
  delete (globalThis as Record<symbol, unknown>)[USER_DEFAULTS];
});

function setDefaults(defaults: object): void {
  (globalThis as Record<symbol, unknown>)[USER_DEFAULTS] = defaults;
}

test("a new viewer has the user's defaults, and Python is told of them", () => {
  setDefaults(DEFAULTS);
  const { session, model } = open({});
  expect(session.settings).toMatchObject({ time: "utc", wrap: true, trim: true, columns: ["pod"], fontSize: 15, newestFirst: true, filter: { since: 600_000, equalLines: "masked" } });
  expect(model.traits).toMatchObject({ time: "utc", wrap: true, columns: ["pod"], font_size: 15, newest_first: true, fold: "masked" });
  // A change of one setting keeps the others, and a new query keeps the window.
  session.change({ wrap: false });
  expect(session.settings).toMatchObject({ time: "utc", wrap: false, fontSize: 15 });
  model.traits.query = { grep: "loss" };
  model.emit("change:query");
  expect(session.settings).toMatchObject({ wrap: false, filter: { grep: "loss", since: 600_000 } });
});

test("what the cell says wins, also where it says what is usual", () => {
  setDefaults(DEFAULTS);
  const { session } = open({ _stated: ["time", "font_size", "columns"], font_size: 10, query: { since: "5m" } });
  expect(session.settings).toMatchObject({ time: "local", fontSize: 10, columns: ["pod", "container"], wrap: true, filter: { since: 300_000 } });
});

test("a chosen run is shown as a whole", () => {
  setDefaults(DEFAULTS);
  expect(open({ query: { run: "2" } }).session.settings.filter.since).toBeNull();
});

test("a viewer that was open before keeps what the user chose", () => {
  setDefaults(DEFAULTS);
  const { session } = open({ view: { since: "1h", wrap: false } });
  expect(session.settings).toMatchObject({ wrap: false, time: "local", filter: { since: 3_600_000 } });
});

test("without defaults, as in a page of its own, everything is as usual", () => {
  const { session } = open({});
  expect(session.settings).toMatchObject({ time: "local", wrap: false, fontSize: 12, filter: { since: 60_000 } });
});

test("a setting that draws no row anew is in what the page saves, too", async () => {
  vi.useFakeTimers();
  const { session, model } = open({});
  session.reportVisible([], 4, 9, undefined);
  await vi.advanceTimersByTimeAsync(5000);
  session.change({ chartSmooth: 20 });
  await vi.advanceTimersByTimeAsync(5000);
  expect(model.traits.view).toMatchObject({ chart_smooth: 20, first_seq: 4, last_seq: 9 });
  vi.useRealTimers();
});
