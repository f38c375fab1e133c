/**
 * Shows the saved lines when a notebook is opened again. Its kernel no longer knows the viewer, so ipywidgets would show an error.
 * The lines that were saved in the output are shown instead, until a live viewer has been drawn.
 */

const WIDGET_VIEW = "application/vnd.jupyter.widget-view+json";
const HTML = "text/html";
/** CSS class of the saved lines; see `notebook/static_html.py`. */
const SAVED_LINES_CLASS = "cortex-logs-static";
/** The rank of ipywidgets' own renderer. Ours replaces it. */
const RANK = -10;

/** The part of JupyterLab's rendermime that is used. */
export interface Renderer {
  node: HTMLElement;
  renderModel(model: Model): Promise<void>;
}
interface Model {
  data: Record<string, unknown>;
}
interface Factory {
  createRenderer(options: object): Renderer;
}
export interface Registry {
  getFactory(mime: string): Factory | undefined;
  addFactory(factory: Factory, rank: number): void;
  createRenderer(mime: string): Renderer;
}
export interface Tracker {
  widgetAdded: { connect(slot: (sender: unknown, panel: { content: { rendermime: Registry } }) => void): unknown };
}

/** Show the saved lines in every notebook that is opened from now on. */
export function showSavedLines(tracker: Tracker): void {
  tracker.widgetAdded.connect((_, panel) => {
    // ipywidgets sets its renderer on this same signal, so wait until it has. Outputs are rendered later.
    queueMicrotask(() => wrapRenderer(panel.content.rendermime));
  });
}

function wrapRenderer(registry: Registry): void {
  const widgets = registry.getFactory(WIDGET_VIEW);
  if (widgets === undefined) return;
  const createRenderer = (options: object): Renderer => {
    const renderer = widgets.createRenderer(options);
    const render = renderer.renderModel.bind(renderer);
    let tail: HTMLElement | null = null;
    // ipywidgets calls this again when the kernel's widgets are known.
    renderer.renderModel = async (model) => {
      tail?.remove();
      tail = null;
      await render(model);
      if (!String(model.data[HTML]).includes(SAVED_LINES_CLASS) || renderer.node.firstElementChild !== null) return;
      const html = registry.createRenderer(HTML);
      await html.renderModel(model);
      if (renderer.node.firstElementChild !== null) return;
      renderer.node.replaceChildren((tail = html.node));
    };
    return renderer;
  };
  registry.addFactory({ ...widgets, createRenderer }, RANK);
}
