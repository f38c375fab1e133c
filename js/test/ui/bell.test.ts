// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Notice, NOTIFIER, Session } from "../../src/client/session.ts";
import { Viewer } from "../../src/ui/viewer.ts";
import { fakeModel, type Line, ns, sse, T0, TASK } from "../helpers.ts";
import { all, feed, find, hub, loadPanels, model, next, page, session, settle, show, viewer } from "../page.ts";

page({ now: T0 + 100_000, settled: 1500 });

let notices: Notice[];
const messages = (): string[] => notices.map(({ message }) => message);
const bell = (): HTMLElement => find(".cl-bell button");
const item = (label: string): HTMLElement | undefined => all(".cl-bell .cl-menu button").find(({ textContent }) => textContent === label);
const picked = (): string[] => all(".cl-picked .cl-m").map((element) => element.textContent ?? "");

async function status(data: object): Promise<void> {
  model.bytes(sse("status", { task: TASK, seq: next.seq++, ...data }, `c${next.seq}`));
  await settle();
}

async function end(state = "succeeded", message = "Job complete exit 0"): Promise<void> {
  model.bytes(sse("end", { task: TASK, seq: next.seq++, time: ns(T0 + 99_000), state, exit_code: state === "succeeded" ? 0 : 1, message }, "c"));
  await settle();
}

async function ring(label: string): Promise<void> {
  bell().click();
  await settle();
  item(label)!.click();
  await settle();
}

async function waitFor(condition: string): Promise<string> {
  await ring("When a line matches…");
  const input = find<HTMLInputElement>(".cl-prompt input");
  input.value = condition;
  input.form!.requestSubmit();
  await settle();
  return find(".cl-prompt [role=alert]").textContent ?? "";
}

async function running(): Promise<void> {
  await status({ state: "running", message: "Running" });
  await feed([T0, 1, "loss=3"], [T0 + 1000, 1, "loss=2"]);
}

beforeEach(() => {
  notices = [];
  sessionStorage.clear();
  (globalThis as Record<symbol, unknown>)[NOTIFIER] = (notice: Notice) => void notices.push(notice);
});

afterEach(() => {
  session.close();
  delete (globalThis as Record<symbol, unknown>)[NOTIFIER];
  vi.unstubAllGlobals();
});

describe("the end of the task", () => {
  it("is announced once, if the user asked for it", async () => {
    show();
    await running();
    expect(bell().getAttribute("aria-pressed")).not.toBe("true");
    await ring("When the task ends");
    expect([item("When the task ends")!.getAttribute("aria-checked"), bell().getAttribute("aria-pressed")]).toEqual(["true", "true"]);
    await feed([T0 + 2000, 1, "loss=1"]);
    expect(messages()).toEqual([]);
    await end();
    await settle(60_000);
    expect(messages()).toEqual(["train-1 has ended: Job complete exit 0"]);
    expect(notices[0]).toMatchObject({ type: "success", element: viewer.root });
    // Nothing more can happen.
    expect(find(".cl-bell").hidden).toBe(true);
  });

  it("that failed is an error", async () => {
    show();
    await running();
    await ring("When the task ends");
    await end("failed", "Job failed exit 1: OOMKilled");
    expect(notices).toMatchObject([{ type: "error", message: "train-1 has ended: Job failed exit 1: OOMKilled" }]);
  });

  it("is not announced without being asked for, nor after the user thought better of it", async () => {
    show();
    await running();
    await ring("When the task ends");
    item("When the task ends")!.click();
    await settle();
    expect(bell().getAttribute("aria-pressed")).toBe("false");
    await end();
    expect(messages()).toEqual([]);
  });

  it("of a task that had ended before is not announced", async () => {
    show();
    await status({ state: "succeeded", message: "Job complete exit 0" });
    await end();
    expect(find(".cl-bell").hidden).toBe(true);
    expect(messages()).toEqual([]);
  });

  it("is announced after a reload of the page, also if it came meanwhile", async () => {
    sessionStorage.setItem(`cortex-jupyter/bell ${TASK}`, JSON.stringify({ end: [TASK] }));
    show();
    await status({ state: "succeeded", message: "Job complete exit 0" });
    await end();
    expect(messages()).toEqual(["train-1 has ended: Job complete exit 0"]);
    expect(sessionStorage.length).toBe(0);
  });

  it("is announced by the next viewer if one was closed while the bell was loading", async () => {
    sessionStorage.setItem(`cortex-jupyter/bell ${TASK}`, JSON.stringify({ end: [TASK] }));
    show();
    session.close();
    await settle();
    show();
    await running();
    await end();
    expect(messages()).toEqual(["train-1 has ended: Job complete exit 0"]);
  });

  it("is announced after a reload once for all viewers of the task", async () => {
    sessionStorage.setItem(`cortex-jupyter/bell ${TASK}`, JSON.stringify({ end: [TASK] }));
    show();
    const second = new Session(fakeModel(), hub);
    second.views.add(new Viewer(hub, second, loadPanels));
    await running();
    expect(bell().getAttribute("aria-pressed")).toBe("true");
    await end();
    expect(messages()).toHaveLength(1);
    second.close();
  });
});

describe("a line that matches", () => {
  it("is announced once, and shown", async () => {
    show();
    await running();
    expect(await waitFor("loss<2.5")).toBe("");
    // The line before does not count.
    expect(messages()).toEqual([]);
    await feed([T0 + 2000, 1, "no loss here"], [T0 + 3000, 2, "loss=2.75"]);
    expect(messages()).toEqual([]);
    bell().click();
    await settle();
    expect(item("loss<2.5")!.getAttribute("aria-checked")).toBe("true");
    await feed(...Array.from({ length: 300 }, (_unused, i): Line => [T0 + 4000 + i, 1, i === 50 ? "loss=2.25 at last" : `step ${i}`]));
    await feed([T0 + 5000, 1, "loss=1"]);
    expect(messages()).toEqual(["train-1 · loss<2.5: loss=2.25 at last"]);
    expect(bell().getAttribute("aria-pressed")).toBe("false");
    expect(picked()).toEqual([]);
    notices[0].show();
    await settle();
    expect(picked()).toEqual(["loss=2.25 at last"]);
  });

  it("counts whatever the viewer itself shows", async () => {
    show({ query: { since: "all", level: "error", exclude: ["NaN"] } });
    await running();
    await waitFor("NaN");
    await feed([T0 + 2000, 2, "loss=NaN"]);
    expect(messages()).toEqual(["train-1 · NaN: loss=NaN"]);
    expect(all("[data-seq]").length).toBe(0);
  });

  it("can be given up", async () => {
    show();
    await running();
    await waitFor("NaN");
    bell().click();
    await settle();
    item("NaN")!.click();
    await settle();
    expect([item("NaN"), bell().getAttribute("aria-pressed")]).toEqual([undefined, "false"]);
    await feed([T0 + 2000, 1, "loss=NaN"]);
    expect(messages()).toEqual([]);
  });

  it("needs a condition that can be understood", async () => {
    show();
    await running();
    expect(await waitFor("/(/")).toMatch(/[Uu]nterminated group|missing/i);
    find(".cl-rows").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await settle();
    expect(await waitFor("  ")).toContain("write what the line must contain");
  });

  it("is still waited for after a reload of the page, also if it came meanwhile", async () => {
    sessionStorage.setItem(`cortex-jupyter/bell ${TASK}`, JSON.stringify({ watches: [{ condition: "NaN", from: T0 + 500 }] }));
    show();
    await running();
    await feed([T0 + 2000, 1, "loss=NaN"]);
    expect(messages()).toEqual(["train-1 · NaN: loss=NaN"]);
    expect(sessionStorage.getItem(`cortex-jupyter/bell ${TASK}`)).toBeNull();
  });
});

describe("in a page without JupyterLab", () => {
  const shown: string[] = [];
  class FakeNotification extends EventTarget {
    static permission = "default";
    static requestPermission = vi.fn(async () => (FakeNotification.permission = FakeNotification.answer));
    static answer = "granted";
    constructor(message: string) {
      super();
      shown.push(message);
    }
  }

  beforeEach(() => {
    delete (globalThis as Record<symbol, unknown>)[NOTIFIER];
    shown.length = 0;
    FakeNotification.permission = "default";
    vi.stubGlobal("Notification", FakeNotification);
  });

  it("the browser shows them after the user has allowed it", async () => {
    FakeNotification.answer = "granted";
    show();
    await running();
    expect(FakeNotification.requestPermission).not.toHaveBeenCalled();
    await ring("When the task ends");
    expect(FakeNotification.requestPermission).toHaveBeenCalledTimes(1);
    await end();
    expect(shown).toEqual(["train-1 has ended: Job complete exit 0"]);
  });

  it("a browser that does not says so, and the bell stays off", async () => {
    FakeNotification.answer = "denied";
    show();
    await running();
    await ring("When the task ends");
    expect([bell().getAttribute("aria-pressed"), item("When the task ends")!.getAttribute("aria-checked")]).toEqual(["false", "false"]);
    expect(find(".cl-problem").textContent).toContain("This browser does not show notifications of this page");
    vi.stubGlobal("Notification", undefined);
    await waitFor("NaN");
    expect(item("NaN")).toBeUndefined();
  });
});
