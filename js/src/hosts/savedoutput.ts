/**
 * The lines that a notebook holds: shows them when no viewer can be shown, and keeps them up to date.
 *
 * When a notebook is opened again, its kernel no longer knows the viewer, and ipywidgets would show an error. Where a page's
 * Content-Security-Policy forbids the viewer's code, there would be nothing at all. The saved lines are shown instead. When the
 * notebook is saved, they become what the viewer shows at that moment.
 */

import { policyProblem } from "../client/policy.ts";
import type { SavedView } from "../protocol/update.ts";
import { h } from "../ui/dom.ts";
import { savedLog } from "./savedlog.ts";

const WIDGET_VIEW = "application/vnd.jupyter.widget-view+json";
const HTML = "text/html";
/** What ipywidgets shows in place of a widget whose code could not be loaded. */
const WIDGET_ERROR = ".jupyter-widgets-error-widget";
/** CSS class of the saved lines; see `notebook/static_html.py` and `savedlog.ts`. */
const SAVED_LINES_CLASS = "cortex-logs-static";
/** The rank of ipywidgets' own renderer, which ours replaces. */
const RANK = -10;
/** A view that shows nothing for this long (ms) has failed; anywidget gives up after 2 s. */
const MAX_START_MS = 3000;
/** How long a save waits for viewers (ms). What a busy one shows is not saved. */
const MAX_WAIT_MS = 2000;

/** The part of JupyterLab's rendermime that is used. */
export interface Renderer {
  node: HTMLElement;
  readonly isDisposed: boolean;
  renderModel(model: Model): Promise<void>;
}
export interface Model {
  readonly data: Record<string, unknown>;
  setData(change: { data: Record<string, unknown> }): void;
}
export interface Factory {
  readonly mimeTypes: readonly string[];
  createRenderer(options: object): Renderer;
}
export interface Registry {
  getFactory(mime: string): Factory | undefined;
  addFactory(factory: Factory, rank: number): void;
  createRenderer(mime: string): Pick<Renderer, "node" | "renderModel">;
}
type SharedOutput = Pick<Map<"data", Model["data"]>, "get" | "set">;
/** A cell of a notebook; only a code cell has outputs. */
export interface Cell {
  readonly outputs?: { readonly length: number; get(index: number): unknown };
  readonly sharedModel: { readonly ymodel?: { get(name: "outputs"): { get(index: number): SharedOutput | object } | undefined } };
}
export interface Panel {
  content: { rendermime: Registry };
  context: { readonly model: { readonly collaborative?: boolean; readonly cells: Iterable<Cell> } | null; save(): Promise<void> };
}
export interface Tracker {
  widgetAdded: { connect(slot: (sender: unknown, panel: Panel) => void): unknown };
}

/** The outputs of each notebook. Its views share its context and the models of its outputs. */
const notebooks = new WeakMap<Panel["context"], SavedOutputs>();

/** Show the saved lines in every notebook that is opened from now on, and save what its viewers show. */
export function showSavedLines(tracker: Tracker): void {
  tracker.widgetAdded.connect((_, { content, context }) => {
    const outputs = notebooks.get(context) ?? new SavedOutputs(context);
    outputs.watch(content.rendermime);
    if (notebooks.has(context)) return;
    notebooks.set(context, outputs);
    const save = context.save.bind(context);
    context.save = async () => {
      // The notebook is saved in any case.
      await outputs.update().catch((reason: unknown) => console.error("[cortex-jupyter]", reason));
      return save();
    };
  });
}

/** The outputs of a notebook that have a viewer and saved lines, in all its views. */
class SavedOutputs {
  readonly #context: Panel["context"];
  readonly #models = new Map<Renderer, Model>();
  /** Changing an output's data makes JupyterLab render it again, which would replace the live viewer. */
  #isUpdating = false;

  constructor(context: Panel["context"]) {
    this.#context = context;
  }

  /** Watch the outputs of a view of the notebook. */
  watch(registry: Registry): void {
    // ipywidgets sets its renderer when the notebook is opened, and again when the kernel is there.
    const add = registry.addFactory.bind(registry);
    registry.addFactory = (factory, rank) => add(factory.mimeTypes.includes(WIDGET_VIEW) ? this.#wrap(factory, registry) : factory, rank);
    const current = registry.getFactory(WIDGET_VIEW);
    if (current !== undefined) registry.addFactory(current, RANK);
  }

  /** Replace the saved lines of each output by what its viewer shows. */
  async update(): Promise<void> {
    const changes = await Promise.all([...this.#models].map(async ([renderer, model]) => ({ renderer, model, html: await shownLines(renderer) })));
    this.#isUpdating = true;
    try {
      for (const { renderer, model, html } of changes) {
        if (renderer.isDisposed) this.#models.delete(renderer);
        else if (html !== null) this.#save(model, html);
      }
    } finally {
      this.#isUpdating = false;
    }
  }

  /**
   * Replace the saved lines of an output.
   *
   * In a notebook that several users share, JupyterLab would replace the whole output for the others
   * (`CodeCellModel._onSharedModelChanged` in @jupyterlab/cells), and their viewers with it. A key of the output's map in the shared
   * document (`YCodeCell` in @jupyter/ydoc) changes the file only.
   */
  #save(model: Model, html: string): void {
    const notebook = this.#context.model;
    if (notebook?.collaborative !== true) {
      if (html !== model.data[HTML]) model.setData({ data: { ...model.data, [HTML]: html } });
      return;
    }
    for (const { outputs, sharedModel } of notebook.cells)
      for (let i = 0; i < (outputs?.length ?? 0); i++) {
        if (outputs!.get(i) !== model) continue;
        const output = sharedModel.ymodel?.get("outputs")?.get(i);
        // Before version 3 of @jupyter/ydoc an output is a plain object, which cannot be changed in part: it stays as it was.
        if (!(output instanceof Object && "set" in output)) continue;
        const data = output.get("data");
        if (data !== undefined && html !== data[HTML]) output.set("data", { ...data, [HTML]: html });
      }
  }

  /** Return a factory whose renderers show the saved lines where ipywidgets shows nothing. */
  #wrap(widgets: Factory, registry: Registry): Factory {
    const createRenderer = (options: object): Renderer => {
      const renderer = widgets.createRenderer(options);
      const render = renderer.renderModel.bind(renderer);
      let tail: HTMLElement | null = null;
      let starting: ReturnType<typeof setTimeout> | undefined;
      const showLines = async (model: Model, reason: HTMLElement | null): Promise<void> => {
        const html = registry.createRenderer(HTML);
        await html.renderModel(model);
        // A viewer may have been drawn meanwhile.
        if (reason === null && renderer.node.firstElementChild !== null) return;
        tail?.remove();
        tail = h("div", {}, reason, html.node);
        if (reason === null) renderer.node.replaceChildren(tail);
        else renderer.node.append(tail);
      };
      // ipywidgets calls this again when the kernel's widgets are known.
      renderer.renderModel = async (model) => {
        if (this.#isUpdating) return;
        clearTimeout(starting);
        tail?.remove();
        tail = null;
        const hasLines = String(model.data[HTML]).includes(SAVED_LINES_CLASS);
        if (hasLines) this.#models.set(renderer, model);
        await render(model);
        if (!hasLines) return;
        // A viewer that cannot run in this page shows why, and then this event comes.
        renderer.node.addEventListener("cortex-logs-failed", () => void showLines(model, h("div", {})), { once: true });
        if (renderer.node.firstElementChild === null) await showLines(model, null);
        const showFailure = (): void => {
          const { message, hint } = policyProblem() ?? { message: "The log viewer could not start", hint: "Reload the page, or run the cell again." };
          void showLines(model, h("p", { role: "alert" }, `${message}. ${hint}`));
        };
        // The widget's code is loaded after this. If that fails, ipywidgets shows an error, or nothing if the view was there first.
        let isLate = false;
        starting = setTimeout(() => {
          isLate = !renderer.isDisposed && renderer.node.textContent === "" && renderer.node.querySelector(".cortex-logs") === null;
          if (isLate) showFailure();
        }, MAX_START_MS);
        const observer = new MutationObserver(() => check());
        const check = (): void => {
          const failed = renderer.node.querySelector<HTMLElement>(WIDGET_ERROR);
          if (failed === null && renderer.node.querySelector(".cortex-logs") === null) return;
          observer.disconnect();
          clearTimeout(starting);
          failed?.remove();
          if (failed !== null) showFailure();
          else if (isLate) tail?.remove();
        };
        observer.observe(renderer.node, { childList: true, subtree: true });
        check();
      };
      return renderer;
    };
    return { ...widgets, createRenderer };
  }
}

/** Return what the viewer in an output shows as HTML; null if there is none, or it is busy. */
async function shownLines({ node }: Renderer): Promise<string | null> {
  let shown: Promise<string | null> = Promise.resolve(null);
  const detail = (view: Promise<SavedView>): void => void (shown = view.then(savedLog).catch(() => null));
  node.querySelector(".cortex-logs")?.dispatchEvent(new CustomEvent("cortex-logs-save", { detail }));
  return Promise.race([shown, new Promise<null>((resolve) => setTimeout(resolve, MAX_WAIT_MS, null))]);
}
