/** The viewer as a widget: a connection per model, DOM per view. A page has one of it (see loader.ts), with its style sheet. */

import { pageStoreClient } from "./store/start.ts";
import { h } from "./view/dom.ts";
import { type Model, Session } from "./view/session.ts";
import { makeStyler } from "./view/style.ts";
import { Viewer } from "./view/viewer.ts";

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

/** `css` is the style sheet, `store` the code of the store: the kernel sends the three parts of a viewer together. */
export default (css = "", store = ""): Widget => {
  const style = makeStyler(css);
  // Hosts differ in whether this is shared by several models, and in whether both calls see one object.
  const sessions = new Map<Model, Session>();

  function open(model: Model): Session {
    const session = new Session(model, pageStoreClient(store));
    sessions.set(model, session);
    return session;
  }

  function sessionOf(model: Model): Session {
    const found = sessions.get(model) ?? (sessions.size === 1 ? [...sessions.values()][0] : undefined);
    return found ?? open(model);
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
        const viewer = new Viewer(pageStoreClient(store), session);
        session.views.add(viewer);
        el.replaceChildren(viewer.root);
        style(viewer.root);
        return once(signal, () => {
          session.views.delete(viewer);
          viewer.close();
        });
      } catch (reason) {
        console.error("[cortex-jupyter]", reason);
        el.replaceChildren(h("pre", { class: "cortex-logs" }, `The log viewer could not start: ${String(reason)}`));
        return () => {};
      }
    },
  };
};
