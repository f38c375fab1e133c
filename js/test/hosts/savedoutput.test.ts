// @vitest-environment happy-dom
import { expect, test } from "vitest";
import { type Registry, type Renderer, showSavedLines } from "../../src/hosts/savedoutput.ts";

const VIEW = "application/vnd.jupyter.widget-view+json";
const model = (html: string) => ({ data: { [VIEW]: {}, "text/html": html } });

/** A notebook whose widget manager knows a viewer, or says that it does not. */
function notebook(known: () => boolean): Registry {
  const factories: Record<string, { createRenderer(options: object): Renderer }> = {};
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
  showSavedLines({
    widgetAdded: {
      connect: (slot) => slot(null, { content: { rendermime: registry } }),
    },
  });
  // ipywidgets does so after us, in the same signal.
  factories[VIEW] = {
    createRenderer: () => ({
      node: document.createElement("div"),
      async renderModel() {
        if (known()) this.node.append(document.createElement("main"));
        else this.node.textContent = "Error displaying widget: model not found";
      },
    }),
  };
  return registry;
}

async function shown(known: () => boolean, html: string, times = 1): Promise<string> {
  const registry = notebook(known);
  await Promise.resolve();
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
