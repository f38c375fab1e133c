// @vitest-environment happy-dom
import { afterEach, expect, test, vi } from "vitest";
import { type Factory, type Model, type Panel, type Registry, showSavedLines } from "../../src/hosts/savedoutput.ts";
import type { SavedView } from "../../src/protocol/update.ts";

const VIEW = "application/vnd.jupyter.widget-view+json";
const model = (html: string): Model => ({
  data: { [VIEW]: {}, "text/html": html },
  setData({ data }) {
    Object.assign(this.data, data);
  },
});

let saves: string[] = [];

afterEach(() => {
  saves = [];
  vi.useRealTimers();
});

/** A view of a notebook whose widget manager knows a viewer, or says that it does not. */
function notebook(known: () => boolean, context: Panel["context"] = { model: null, save: async () => void saves.push("saved") }): Registry & Panel {
  const factories: Record<string, Factory> = {};
  const registry: Registry = {
    getFactory: (mime) => factories[mime],
    addFactory: (factory) => void (factories[VIEW] = factory),
    createRenderer: () => ({
      node: document.createElement("article"),
      async renderModel({ data }) {
        this.node.textContent = `html: ${data["text/html"]}`;
      },
    }),
  };
  const panel: Panel = { content: { rendermime: registry }, context };
  showSavedLines({ widgetAdded: { connect: (slot) => slot(null, panel) } });
  // ipywidgets does so after us, when the kernel is there.
  const widgets: Factory = {
    mimeTypes: [VIEW],
    createRenderer: () => ({
      node: document.createElement("div"),
      isDisposed: false,
      async renderModel() {
        if (known()) this.node.append(document.createElement("main"));
        else this.node.textContent = "Error displaying widget: model not found";
      },
    }),
  };
  registry.addFactory(widgets, -10);
  return Object.assign(registry, panel);
}

async function shown(known: () => boolean, html: string, times = 1): Promise<string> {
  const registry = notebook(known);
  const renderer = registry.getFactory(VIEW)!.createRenderer({});
  for (let i = 0; i < times; i++) await renderer.renderModel(model(html));
  return `${renderer.node.firstElementChild?.localName}: ${renderer.node.textContent}`;
}

const TAIL = `<div class="cortex-logs-static">line 399</div>`;

test("a viewer that no kernel knows is replaced by the saved lines", async () => {
  expect(await shown(() => false, TAIL)).toContain("line 399");
});

test("a known viewer is shown, even if its kernel was late", async () => {
  expect(await shown(() => true, TAIL)).toBe("main: ");
  let asked = 0;
  expect(await shown(() => asked++ > 0, TAIL, 2)).toBe("main: ");
});

test("other widgets show what they always show", async () => {
  expect(await shown(() => false, "<b>a slider</b>")).toBe("undefined: Error displaying widget: model not found");
});

/** An output whose view is there and empty, as anywidget leaves it while it loads the viewer's code, and for good if that fails. */
async function empty(): Promise<HTMLElement> {
  vi.useFakeTimers();
  const { node, renderModel } = notebook(() => true).getFactory(VIEW)!.createRenderer({});
  await renderModel(model(TAIL));
  return node;
}

const startedViewer = (textContent: string): HTMLElement => Object.assign(document.createElement("div"), { className: "cortex-logs", textContent });

test("a viewer that never starts is followed by the reason and the saved lines", async () => {
  const node = await empty();
  expect(node.textContent).toBe("");
  await vi.advanceTimersByTimeAsync(3000);
  expect(node.querySelector("[role=alert]")!.textContent).toBe("The log viewer could not start. Reload the page, or run the cell again.");
  expect(node.textContent).toContain("line 399");
});

test("a viewer that starts late takes the place of the saved lines", async () => {
  const node = await empty();
  await vi.advanceTimersByTimeAsync(3000);
  expect(node.textContent).toContain("line 399");
  node.firstElementChild!.append(startedViewer("live"));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(node.textContent).toBe("live");
});

test("a viewer that starts in time is left alone", async () => {
  const node = await empty();
  node.firstElementChild!.append(startedViewer(""));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(node.textContent).toBe("");
});

/** A notebook with a live viewer that answers as the test says. Returns the output's model after the notebook was saved. */
async function saved(answer: (detail: (view: Promise<SavedView>) => void) => void): Promise<[Model, HTMLElement]> {
  const notebookPanel = notebook(() => true);
  const renderer = notebookPanel.getFactory(VIEW)!.createRenderer({});
  const output = model(TAIL);
  // JupyterLab renders an output again when its data changes.
  const set = output.setData.bind(output);
  output.setData = (change) => {
    set(change);
    void renderer.renderModel(output);
  };
  await renderer.renderModel(output);
  const viewer = renderer.node.firstElementChild as HTMLElement;
  viewer.className = "cortex-logs";
  viewer.addEventListener("cortex-logs-save", (event) => answer((event as CustomEvent<(view: Promise<SavedView>) => void>).detail));
  vi.useFakeTimers();
  const saving = notebookPanel.context.save();
  await vi.advanceTimersByTimeAsync(10_000);
  await saving;
  expect(saves).toEqual(["saved"]);
  expect([...renderer.node.children]).toEqual([viewer]);
  return [output, viewer];
}

test("what a viewer shows is saved, and the viewer stays", async () => {
  const [output] = await saved((detail) => detail(Promise.resolve({ tasks: [], filter: "", time: "off", sources: [], rows: [], counts: "line 500" })));
  expect(output.data["text/html"]).toContain("line 500");
  expect(Object.keys(output.data)).toEqual([VIEW, "text/html"]);
});

test("in a shared notebook what a viewer shows is saved, and no output is replaced", async () => {
  const output = model(TAIL);
  output.setData = () => expect.unreachable("the others' viewers would be replaced");
  const shared = new Map([["data", output.data]]);
  const set = vi.spyOn(shared, "set");
  const cells = [{ sharedModel: {} }, { outputs: { length: 2, get: (i: number) => [model(TAIL), output][i] }, sharedModel: { ymodel: { get: () => ({ get: (i: number) => [{}, shared][i]! }) } } }];
  const panel = notebook(() => true, { model: { collaborative: true, cells }, save: async () => void saves.push("saved") });
  const renderer = panel.getFactory(VIEW)!.createRenderer({});
  await renderer.renderModel(output);
  const viewer = renderer.node.firstElementChild as HTMLElement;
  viewer.className = "cortex-logs";
  viewer.addEventListener("cortex-logs-save", (event) =>
    (event as CustomEvent<(view: Promise<SavedView>) => void>).detail(Promise.resolve({ tasks: [], filter: "", time: "off", sources: [], rows: [], counts: "line 500" })),
  );
  await panel.context.save();
  await panel.context.save();
  expect(saves).toEqual(["saved", "saved"]);
  expect(shared.get("data")).toEqual({ [VIEW]: {}, "text/html": expect.stringContaining("line 500") });
  expect(set).toHaveBeenCalledTimes(1);
});

test.each([
  ["has drawn nothing", () => {}],
  ["does not answer", (detail: (view: Promise<SavedView>) => void) => detail(new Promise(() => {}))],
  ["fails", (detail: (view: Promise<SavedView>) => void) => detail(Promise.reject(new Error("the worker was replaced")))],
])("the notebook is saved, with the lines from before, if its viewer %s", async (_name, answer) => {
  expect((await saved(answer))[0].data["text/html"]).toBe(TAIL);
});

test("two views of one notebook keep both viewers, and ask each of them once", async () => {
  const context: Panel["context"] = { model: null, save: async () => void saves.push("saved") };
  const output = model(TAIL);
  const renderers = [notebook(() => true, context), notebook(() => true, context)].map((view) => view.getFactory(VIEW)!.createRenderer({}));
  const set = output.setData.bind(output);
  output.setData = (change) => {
    set(change);
    for (const renderer of renderers) void renderer.renderModel(output);
  };
  const asked: number[] = [];
  const viewers = [];
  for (const [i, renderer] of renderers.entries()) {
    await renderer.renderModel(output);
    const viewer = renderer.node.firstElementChild as HTMLElement;
    viewer.className = "cortex-logs";
    viewer.addEventListener("cortex-logs-save", (event) => {
      asked.push(i);
      (event as CustomEvent<(view: Promise<SavedView>) => void>).detail(Promise.resolve({ tasks: [], filter: "", time: "off", sources: [], rows: [], counts: "line 500" }));
    });
    viewers.push(viewer);
  }
  await context.save();
  expect([saves, asked.toSorted()]).toEqual([["saved"], [0, 1]]);
  expect(output.data["text/html"]).toContain("line 500");
  expect(renderers.map(({ node }) => [...node.children])).toEqual(viewers.map((viewer) => [viewer]));
});
