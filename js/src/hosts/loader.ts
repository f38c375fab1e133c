/**
 * The module that hosts load as the widget. `_esm` is copied into every model, sent over the comm and stored in notebooks, so it
 * does not contain the viewer. Instead it asks the kernel for the viewer, once per page and version, and starts it from a blob:
 * URL as anywidget itself does.
 *
 * The page has to ask: a message that the kernel sends before the host has made the model is dropped, and after a reload the
 * kernel would send none. An answer reaches all tabs at once. `initialize` awaits nothing, because a host gives up on a model
 * whose initialization takes two seconds, and then drops every message to it.
 */

import type { Model } from "../client/session.ts";
import type { Widget } from "./widget.ts";

type Factory = () => Widget;

/** The viewer of one version. A page has one promise for it, which the kernel of any model may fulfil. */
interface SharedViewer {
  factory: Promise<Factory>;
  take(parts: DataView[]): void;
}

const FIRST_DELAY_MS = 1000;
/** Maximum pause between two requests (ms). The pause doubles each time, because a busy kernel will answer all requests in its queue. */
const MAX_DELAY_MS = 60_000;
const WAITING =
  "The log viewer comes from the kernel, which does not answer yet: it is busy or not running. The viewer is shown as soon as it answers; after a restart of the kernel run this cell again.";

/** Every model has its own instance of this module, so shared state is kept on globalThis. */
const page = globalThis as unknown as Record<symbol, Map<string, SharedViewer> | undefined>;
const viewers = (page[Symbol.for("cortex-jupyter/viewers")] ??= new Map<string, SharedViewer>());

/** Start the viewer from its parts, which the kernel sends together. */
async function start([code, ...texts]: DataView[]): Promise<Factory> {
  const url = URL.createObjectURL(new Blob([code as DataView<ArrayBuffer>], { type: "text/javascript" }));
  try {
    const { default: factory } = (await import(url)) as { default: (css: string, store: string, readScript: (name: "charts" | "panels") => Promise<string>) => Widget };
    const [css, store, charts, panels] = texts.map((part) => new TextDecoder().decode(part));
    return () => factory(css, store, async (name) => ({ charts, panels })[name]);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function sharedViewer(version: string): SharedViewer {
  let entry = viewers.get(version);
  if (entry === undefined) {
    let take!: (parts: DataView[]) => void;
    const parts = new Promise<DataView[]>((resolve) => (take = resolve));
    entry = { take, factory: parts.then(start) };
    // After a failed start the next model asks again.
    entry.factory.catch(() => viewers.delete(version));
    viewers.set(version, entry);
  }
  return entry;
}

/** A model's request for the viewer. It is stopped when the model is destroyed. */
interface ViewerRequest {
  factory: Promise<Factory>;
  stop(): void;
}

const requests = new WeakMap<Model, ViewerRequest>();

/** Ask the model's kernel until the viewer has arrived, from this kernel or another model's. */
function requestViewer(model: Model): ViewerRequest {
  const version = String(model.get("_viewer"));
  const others = viewers.has(version);
  const { factory, take } = sharedViewer(version);
  const answered = (message: Record<string, unknown>, parts: DataView[]): void => {
    if (message.type === "viewer" && message.version === version) take(parts);
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const again = (delay: number): void => {
    timer = setTimeout(again, delay, Math.min(MAX_DELAY_MS, delay * 2));
    try {
      model.send({ type: "viewer" });
    } catch (reason) {
      // The kernel is dead, and the cell shows it. The user may start another.
      console.warn("[cortex-jupyter]", reason);
    }
  };
  const stop = (): void => {
    clearTimeout(timer);
    model.off("msg:custom", answered);
  };
  model.on("msg:custom", answered);
  // Another model is asking already, or the viewer has arrived: wait, because the other kernel may answer.
  if (others) timer = setTimeout(again, FIRST_DELAY_MS, FIRST_DELAY_MS);
  else again(FIRST_DELAY_MS);
  factory.then(stop, stop);
  const result = { factory, stop };
  requests.set(model, result);
  return result;
}

export default (): Widget => {
  // In some hosts several models share a module and so this factory; in some, `initialize` and `render` see different objects.
  const widgets = new Map<Factory, Widget>();

  async function widgetOf(model: Model): Promise<Widget> {
    const factory = await (requests.get(model) ?? requestViewer(model)).factory;
    const widget = widgets.get(factory) ?? factory();
    widgets.set(factory, widget);
    return widget;
  }

  /** Call `act` when the viewer has arrived, unless the model or view has been removed by then. */
  function later(model: Model, signal: AbortSignal | undefined, act: (widget: Widget) => () => void, failed: (reason: unknown) => void): () => void {
    let over = false;
    let undo: (() => void) | undefined;
    widgetOf(model)
      .then((widget) => {
        if (!over) undo = act(widget);
      })
      .catch(failed);
    const end = (): void => {
      if (!over) undo?.();
      over = true;
    };
    signal?.addEventListener("abort", end, { once: true });
    return end;
  }

  return {
    initialize({ model, signal }) {
      const end = later(model, signal, (widget) => widget.initialize({ model, signal }), (reason) => console.error("[cortex-jupyter]", reason));
      return () => {
        requests.get(model)?.stop();
        end();
      };
    },
    render({ model, el, signal }) {
      const say = (text: string): void => void (el.textContent = text);
      const waiting = setTimeout(say, 2 * FIRST_DELAY_MS, WAITING);
      const end = later(
        model,
        signal,
        (widget) => {
          clearTimeout(waiting);
          return widget.render({ model, el, signal });
        },
        (reason) => {
          clearTimeout(waiting);
          say(`The log viewer could not start: ${String(reason)}`);
        },
      );
      return () => {
        clearTimeout(waiting);
        end();
      };
    },
  };
};
