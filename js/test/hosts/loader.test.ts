// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import loader from "../../src/hosts/loader.ts";
import { bytesOf, type FakeModel, fakeModel } from "../helpers.ts";

/** A viewer that says what is done to it; imported from a data: URL because node imports no blob: URL. */
const CODE = `export default (css, store, readScript) => ({
  initialize: ({ model }) => { model.traits.log.push('initialize'); return () => model.traits.log.push('closed') },
  render: ({ model, el }) => { model.traits.log.push('render'); el.textContent = 'viewer ' + css + store; Promise.all([readScript('charts'), readScript('panels')]).then((scripts) => el.append(...scripts)); return () => model.traits.log.push('unrendered') },
})`;

let started = 0;
let version = 0;

function model(): FakeModel {
  return fakeModel({ _viewer: `v${version}`, log: [] });
}

function answer(to: FakeModel, code = CODE): void {
  const parts = [code, "a{}", "store", "charts", "panels"].map((text) => new DataView(bytesOf(text).buffer));
  to.emit("msg:custom", { type: "viewer", version: to.get("_viewer") }, parts);
}

const asked = (of: FakeModel): number => of.sent.filter(({ type }) => type === "viewer").length;
/** Importing a module takes turns of the real loop. */
const settle = (text: string, el: HTMLElement): Promise<void> => vi.waitFor(() => expect(el.textContent).toContain(text));

beforeEach(() => {
  version++;
  started = 0;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    started++;
    const [text] = (blob as unknown as { parts: DataView[] }).parts.map((part) => new TextDecoder().decode(part));
    return `data:text/javascript,${encodeURIComponent(text)}`;
  });
  vi.stubGlobal("Blob", class { constructor(readonly parts: DataView[]) {} });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("the loader asks for the viewer", () => {
  it("once per page, and starts it once", async () => {
    const models = [model(), model(), model()];
    const cells = models.map(() => document.createElement("div"));
    for (const [i, one] of models.entries()) {
      const widget = loader();
      widget.initialize({ model: one });
      widget.render({ model: one, el: cells[i] });
    }
    expect(models.map(asked)).toEqual([1, 0, 0]);
    answer(models[0]);
    for (const el of cells) await settle("viewer a{}storechartspanels", el);
    for (const one of models) expect(one.traits.log).toEqual(["initialize", "render"]);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(models.map(asked)).toEqual([1, 0, 0]);
    expect(started).toBe(1);
    // A model that comes later finds it here.
    const late = model();
    loader().render({ model: late, el: cells[0] });
    await vi.waitFor(() => expect(late.traits.log).toEqual(["render"]));
    expect(asked(late)).toBe(0);
  });

  it("from every kernel if one does not answer, with growing pauses, and the cell says so", async () => {
    const [gone, alive] = [model(), model()];
    const [el, other] = [document.createElement("div"), document.createElement("div")];
    gone.send = () => {
      gone.sent.push({ type: "viewer" });
      throw new Error("Kernel is dead");
    };
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const widget = loader();
    const close = widget.initialize({ model: gone });
    widget.render({ model: gone, el });
    expect(el.textContent).toBe("");
    await vi.advanceTimersByTimeAsync(600_000);
    expect(el.textContent).toContain("comes from the kernel, which does not answer yet");
    expect(asked(gone)).toBeLessThan(20);
    loader().render({ model: alive, el: other });
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked(alive)).toBe(1);
    answer(alive);
    await settle("viewer", el);
    await settle("viewer", other);
    close();
    expect(gone.traits.log).toEqual(["initialize", "render", "closed"]);
  });

  it("of another version in parallel", async () => {
    const old = model();
    const el = document.createElement("div");
    loader().render({ model: old, el });
    version++;
    const young = model();
    loader().render({ model: young, el: document.createElement("div") });
    expect([asked(old), asked(young)]).toEqual([1, 1]);
    answer(young);
    await vi.waitFor(() => expect(young.traits.log).toEqual(["render"]));
    expect(old.traits.log).toEqual([]);
  });

  it("no longer for a closed model, and does not show what arrives then", async () => {
    const one = model();
    const el = document.createElement("div");
    const widget = loader();
    const close = widget.initialize({ model: one });
    const leave = widget.render({ model: one, el });
    leave();
    close();
    const before = asked(one);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(asked(one)).toBe(before);
    expect(el.textContent).toBe("");
  });

  it("again if it could not be started", async () => {
    const one = model();
    const el = document.createElement("div");
    loader().render({ model: one, el });
    answer(one, "throw new Error('no luck')");
    await settle("The log viewer could not start: Error: no luck", el);
    const next = model();
    loader().render({ model: next, el });
    expect(asked(next)).toBe(1);
    answer(next);
    await settle("viewer", el);
  });
});
