/**
 * The viewer as a widget: one session for each model, one view for each output. A page has one instance of it, with its style
 * sheet (see loader.ts).
 */

import { type MakeDownloads, type Model, Session } from "../client/session.ts";
import { reportedPolicyProblem } from "../client/policy.ts";
import { pageStoreClient, type StoreClient } from "../client/storeclient.ts";
import { errorMessage } from "../text/format.ts";
import { h } from "../ui/dom.ts";
import { LoadError, type Panels } from "../ui/panelslot.ts";
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

/** Read a script that is needed on demand: the worker's for charts, or the page's for panels. */
export type ReadScript = (name: "charts" | "panels") => Promise<string>;

/** Return the widget, with its style sheet `css`, the worker's code `store` and a function that reads the other scripts. */
export default (css: string, store: string, readScript: ReadScript, makeDownloads?: MakeDownloads): Widget => {
  const client = (): StoreClient => pageStoreClient(store, () => readScript("charts"));
  const style = (styler ??= makeStyler(css));
  // In some hosts several models share this object; in some, `initialize` and `render` see different objects.
  const sessions = new Map<Model, Session>();

  function open(model: Model): Session {
    const session = new Session(model, client(), makeDownloads);
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
        const viewer = new Viewer(client(), session, () => loadPanels(readScript));
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

/** The page has one instance of this module for each version of the package, and so one instance of the panels' code. */
let panels: Promise<Panels> | undefined;

function loadPanels(readScript: ReadScript): Promise<Panels> {
  return (panels ??= importPanels(readScript).catch((reason: unknown) => {
    panels = undefined;
    throw reason;
  }));
}

async function importPanels(readScript: ReadScript): Promise<Panels> {
  let url = "";
  try {
    url = URL.createObjectURL(new Blob([await readScript("panels")], { type: "text/javascript" }));
    return (await import(/* @vite-ignore */ url)) as Panels;
  } catch (reason) {
    console.error("[cortex-jupyter]", reason);
    const policy = url === "" ? null : await reportedPolicyProblem("This panel");
    throw new LoadError(policy ?? { message: `The code of this panel could not be loaded: ${errorMessage(reason)}`, hint: "If it fails again, reload the page." });
  } finally {
    URL.revokeObjectURL(url);
  }
}

type Styler = (element: HTMLElement) => void;

/** The page has one instance of this module for each version of the package. */
let styler: Styler | undefined;

/**
 * Return a function that adds the style sheet to the document or shadow root of an element. It applies only to
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
