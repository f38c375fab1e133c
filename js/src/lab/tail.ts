/**
 * A notebook opened on another day: its kernel knows no viewer any more, and what ipywidgets shows then is an error. The lines that
 * are kept in the output beside it are shown in its place, and until a viewer that is there has been drawn.
 */

const VIEW = "application/vnd.jupyter.widget-view+json";
const HTML = "text/html";
/** Of the lines in an output; see `notebook/static_html.py`. */
const TAIL = "cortex-logs-static";
/** As ipywidgets' own, whose place this takes. */
const RANK = -10;

/** As much as is used of JupyterLab's rendermime. */
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

/** Show them in every notebook that is opened from now on. */
export function keepTails(tracker: Tracker): void {
  tracker.widgetAdded.connect((_, panel) => {
    // After ipywidgets, which gives each notebook a renderer of its own in this same signal, and before there are outputs.
    queueMicrotask(() => wrap(panel.content.rendermime));
  });
}

function wrap(registry: Registry): void {
  const widgets = registry.getFactory(VIEW);
  if (widgets === undefined) return;
  const createRenderer = (options: object): Renderer => {
    const renderer = widgets.createRenderer(options);
    const render = renderer.renderModel.bind(renderer);
    let tail: HTMLElement | null = null;
    // It calls this itself again when the kernel's widgets are known.
    renderer.renderModel = async (model) => {
      tail?.remove();
      tail = null;
      await render(model);
      if (!String(model.data[HTML]).includes(TAIL) || renderer.node.firstElementChild !== null) return;
      const html = registry.createRenderer(HTML);
      await html.renderModel(model);
      if (renderer.node.firstElementChild !== null) return;
      renderer.node.replaceChildren((tail = html.node));
    };
    return renderer;
  };
  registry.addFactory({ ...widgets, createRenderer }, RANK);
}
