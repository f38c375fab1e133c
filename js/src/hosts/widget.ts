/**
 * The viewer as a widget: one session for each model, one view for each output. A page has one instance of it, with its style
 * sheet (see loader.ts).
 */

import { type MakeDownloads, type Model, Session } from "../client/session.ts";
import { pageStoreClient } from "../client/storeclient.ts";
import { h } from "../ui/dom.ts";
import { Viewer } from "../ui/viewer.ts";

interface InitializeProps {
  model: Model;
  signal?: AbortSignal;
}

interface RenderProps extends InitializeProps {
  el: HTMLElement;
}

export interface Widget {
  initialize(props: InitializeProps): () => void;
  render(props: RenderProps): () => void;
}

function once(signal: AbortSignal | undefined, cleanup: () => void): () => void {
  let done = false;
  const run = (): void => {
    if (!done) cleanup();
    done = true;
  };
  signal?.addEventListener("abort", run, { once: true });
  return run;
}

/**
 * Return the widget, with its style sheet `css`, the worker's code `store` and a function that reads the code for charts, which the
 * worker needs once a view shows one.
 */
export default (css: string, store: string, readChartCode: () => Promise<string>, makeDownloads?: MakeDownloads): Widget => {
  const style = (styler ??= makeStyler(css));
  // In some hosts several models share this object; in some, `initialize` and `render` see different objects.
  const sessions = new Map<Model, Session>();

  function open(model: Model): Session {
    const session = new Session(model, pageStoreClient(store, readChartCode), makeDownloads);
    sessions.set(model, session);
    return session;
  }

  function sessionOf(model: Model): Session {
    const result = sessions.get(model) ?? (sessions.size === 1 ? [...sessions.values()][0] : undefined);
    return result ?? open(model);
  }

  return {
    initialize({ model, signal }) {
      const session = open(model);
      return once(signal, () => {
        sessions.delete(model);
        session.close();
      });
    },
    render({ model, el, signal }) {
      try {
        const session = sessionOf(model);
        const viewer = new Viewer(pageStoreClient(store, readChartCode), session);
        session.views.add(viewer);
        el.replaceChildren(viewer.root);
        style(viewer.root);
        return once(signal, () => {
          session.views.delete(viewer);
          viewer.close();
        });
      } catch (reason) {
        console.error("[cortex-jupyter]", reason);
        const message = h("pre", { class: "cortex-logs" }, `The log viewer could not start: ${String(reason)}`);
        el.replaceChildren(message);
        style(message);
        return () => {};
      }
    },
  };
};

type Styler = (element: HTMLElement) => void;

/** The page has one instance of this module for each version of the package. */
let styler: Styler | undefined;

/**
 * Return a function that adds the style sheet to the document or shadow root in which an element is shown. It applies only to
 * elements with the class of this version, because another version may be on the same page.
 */
function makeStyler(css: string): Styler {
  if (css === "") return () => {};
  const own = `cl-${Math.random().toString(36).slice(2)}`;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css.replaceAll(".cortex-logs", `.cortex-logs.${own}`));

  const adopt = (root: Node): void => {
    if ((root instanceof Document || root instanceof ShadowRoot) && !root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
  };
  adopt(document);
  return (element) => {
    element.classList.add(own);
    // An element's root is known once it has a size: hosts fill an element before they attach it.
    const shown = new ResizeObserver(() => {
      if (!element.isConnected) return;
      shown.disconnect();
      adopt(element.getRootNode());
    });
    shown.observe(element);
  };
}
