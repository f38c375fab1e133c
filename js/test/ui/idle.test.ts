// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { FromStore } from "../../src/protocol/messages.ts";
import type { Update } from "../../src/protocol/update.ts";
import { Engine } from "../../src/store/engine.ts";
import { Session } from "../../src/client/session.ts";
import { fromPlain } from "../../src/client/settings.ts";
import { Painter } from "../../src/ui/painter.ts";
import { Viewer } from "../../src/ui/viewer.ts";
import { engineHub, fakeModel, type FakeModel, logEvent, ns, Server, sse, T0, TASK, W0 } from "../helpers.ts";
import { loadPanels } from "../page.ts";

const OTHER = "default:job/other";
const MINUTE = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "warn").mockImplementation(() => {});
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("a store whose tasks are silent", () => {
  let server: Server;
  let engine: Engine;
  let posted: FromStore[];
  const updates = (view: string): Update[] => posted.filter((message) => message.op === "update").filter((update) => update.view === view);
  const surveys = (): number => server.requests.filter(({ url }) => url.pathname.endsWith("/outline")).length;
  const heartbeat = (): Promise<void> => server.send(`: hb ${ns(Date.now())}\n\n`);
  const begin = async (...tasks: string[]): Promise<void> => {
    for (const [i, task] of tasks.entries()) {
      engine.receive({ op: "subscribe", model: `m${i}`, tasks: [task], transport: "auto", since: "all" });
      engine.receive({ op: "view", view: `v${i}`, model: `m${i}`, filter: fromPlain({ since: "all" }).filter, viewport: { from: 0, count: 50, follow: true, anchor: null, anchorIndex: 0 } });
    }
    await vi.advanceTimersByTimeAsync(10);
    const [start, width] = [ns(T0 - 10 * MINUTE), ns(11 * MINUTE)];
    server.answer = () => Response.json({ records: 2, upto: 1, first: start, last: ns(T0), start, width, lines: [2], notices: [] });
    for (const [i, task] of tasks.entries()) {
      await server.send(sse("status", { task, state: "running", message: "", older: null }, "a"));
      await server.send(sse("log", logEvent(0, [[T0 - 10 * MINUTE, 1, "first"], [T0, 1, `of ${i}`]], task), "a"));
    }
    await heartbeat();
    // Until the rate is nought.
    await vi.advanceTimersByTimeAsync(10_000);
    posted.length = 0;
  };

  beforeEach(() => {
    server = new Server();
    posted = [];
    engine = new Engine((message) => {
      posted.push(message);
      if (message.op === "update") queueMicrotask(() => engine.receive({ op: "ack", view: message.view }));
    }, true, server.fetch);
    engine.receive({ op: "config", config: { base: "http://host/cortex/", headers: {} } });
  });

  afterEach(() => engine.stop());

  it("sends the time once a second, and the axis moves in steps; a heartbeat changes nothing", async () => {
    await begin(TASK);
    for (let i = 0; i < 4; i++) {
      await heartbeat();
      await vi.advanceTimersByTimeAsync(15_000);
    }
    expect(posted.filter(({ op }) => op === "clock")).toHaveLength(60);
    expect(updates("v0").length).toBeLessThanOrEqual(8);
  });

  it("asks the server for counts less and less often", async () => {
    await begin(TASK);
    const before = surveys();
    await vi.advanceTimersByTimeAsync(15 * MINUTE);
    expect(surveys() - before).toBe(4);
  });

  it("lines of one task do not redraw a viewer of another", async () => {
    await begin(TASK, OTHER);
    for (let i = 2; i < 12; i++) await server.send(sse("log", logEvent(i, [[Date.now(), 1, `line ${i}`]], OTHER), "b,b"));
    expect(updates("v0")).toEqual([]);
    expect(updates("v1").at(-1)!.rows.at(-1)!.text).toBe("line 11");
  });

  it("does nothing while invisible, and has everything when visible again", async () => {
    await begin(TASK);
    engine.receive({ op: "visible", view: "v0", isVisible: false });
    const asked = surveys();
    await server.send(sse("log", logEvent(2, [[Date.now(), 1, "meanwhile"]]), "b"));
    await vi.advanceTimersByTimeAsync(30 * MINUTE);
    expect(posted.filter(({ op }) => op === "update" || op === "clock")).toEqual([]);
    expect(surveys()).toBe(asked);
    engine.receive({ op: "visible", view: "v0", isVisible: true });
    expect(updates("v0").at(-1)!.rows.at(-1)!.text).toBe("meanwhile");
  });
});

describe("an idle viewer", () => {
  let model: FakeModel;
  let session: Session;
  let viewer: Viewer;

  beforeEach(() => {
    const hub = engineHub();
    model = fakeModel();
    session = new Session(model, hub);
    viewer = new Viewer(hub, session, loadPanels);
    session.views.add(viewer);
    document.body.replaceChildren(viewer.root);
  });

  afterEach(() => session.close());

  it("updates only how long the task runs", async () => {
    const begun = T0 - 5 * MINUTE;
    model.bytes(sse("status", { task: TASK, state: "running", message: "", older: null, now: ns(T0) }));
    model.bytes(sse("status", { task: TASK, seq: 0, notice: "started", time: ns(begun), source: W0, message: "" }));
    model.bytes(sse("log", logEvent(1, [[begun, 1, "first"], [T0, 1, "last"]]), "c"));
    await vi.advanceTimersByTimeAsync(10_100);
    const running = (): string => viewer.root.querySelector(".cl-ph.cl-now")!.textContent!;
    const words: string[] = [];
    const written = new Set<string>();
    const observer = new MutationObserver((all) => {
      for (const { target } of all) {
        const element = (target.nodeType === 3 ? target.parentElement : target) as HTMLElement;
        if (!element.closest(".cl-time")) written.add(`${element.tagName} ${element.className}`);
      }
    });
    observer.observe(viewer.root, { subtree: true, childList: true, characterData: true, attributes: true });
    for (let i = 0; i < 30; i++) {
      await vi.advanceTimersByTimeAsync(1000);
      if (words.at(-1) !== running()) words.push(running());
    }
    observer.disconnect();
    expect(words).toEqual(["Running 5 m 10 s", "Running 5 m 20 s", "Running 5 m 30 s", "Running 5 m 40 s"]);
    expect([...written]).toEqual(["SMALL "]);
  });
});

it("a jump is not lost when another update comes within the same frame", async () => {
  const drawn: Update[] = [];
  const painter = new Painter(document.createElement("div"), { draw: (update) => drawn.push(update), ack: () => {}, visibilityChanged: () => {}, showError: () => {} });
  painter.receive({ op: "update", seekRow: 10, shift: 0 } as Update);
  painter.receive({ op: "update", seekRow: 40, shift: 0 } as Update);
  painter.receive({ op: "update", shift: 2 } as Update);
  await vi.advanceTimersByTimeAsync(50);
  expect(drawn.map(({ seekRow }) => seekRow)).toEqual([10, 42]);
  painter.close();
});

it("the first update is drawn at once, further ones once in a frame, and an error stops neither", async () => {
  const drawn: number[] = [];
  const showError = vi.fn();
  const draw = ({ shift }: Update): void => {
    drawn.push(shift);
    if (shift === 1) throw new Error("no room");
  };
  const painter = new Painter(document.createElement("div"), { draw, ack: () => {}, visibilityChanged: () => {}, showError });
  const receive = (shift: number): void => painter.receive({ op: "update", shift } as Update);
  receive(1);
  expect(drawn).toEqual([1]);
  expect(showError).toHaveBeenCalledWith("The viewer failed to draw: no room");
  receive(2);
  receive(3);
  expect(drawn).toEqual([1]);
  await vi.advanceTimersByTimeAsync(50);
  expect(drawn).toEqual([1, 3]);
  receive(4);
  expect(drawn).toEqual([1, 3, 4]);
  painter.close();
});
