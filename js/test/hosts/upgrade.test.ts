// @vitest-environment happy-dom
/** The package is upgraded and the kernel restarted, without a reload of the page: both versions of the viewer are on it. */
import * as esbuild from "esbuild";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import loader from "../../src/hosts/loader.ts";
import { bytesOf, type FakeModel, fakeModel } from "../helpers.ts";
import { stubWorkers } from "../realworker.ts";

const CSS = ".cortex-logs { color: COLOUR; }";
const bundle = esbuild.build({ entryPoints: ["src/hosts/widget.ts"], bundle: true, format: "esm", target: "es2022", write: false });

/** What the workers were started with, and what they were sent. */
let workers: { code: string; sent: { op: string }[] }[];

async function answer(model: FakeModel, colour: string): Promise<void> {
  const code = `${(await bundle).outputFiles[0].text}\n// ${colour}`;
  const parts = [code, CSS.replace("COLOUR", colour), `store of ${colour}`, ""].map((text) => new DataView(bytesOf(text).buffer));
  model.emit("msg:custom", { type: "viewer", version: model.get("_viewer") }, parts);
}

async function open(version: string): Promise<HTMLElement> {
  const model = fakeModel({ _viewer: version });
  const el = document.body.appendChild(document.createElement("div"));
  const widget = loader();
  widget.initialize({ model });
  widget.render({ model, el });
  await answer(model, version);
  return vi.waitFor(() => {
    expect(el.querySelector(".cortex-logs")).not.toBeNull();
    return el.querySelector<HTMLElement>(".cortex-logs")!;
  });
}

beforeEach(() => {
  workers = [];
  // In happy-dom the document is of another class than the global one.
  vi.stubGlobal("Document", document.constructor);
  stubWorkers(class {
    readonly #worker: { code: string; sent: { op: string }[] };
    constructor(url: string) {
      workers.push((this.#worker = { code: decodeURIComponent(url.slice("data:text/javascript,".length)), sent: [] }));
    }
    addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
      if (type === "message") setTimeout(() => listener({ data: { op: "ready" } }));
    }
    postMessage(message: { op: string }): void {
      this.#worker.sent.push(message);
    }
    terminate(): void {}
  });
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it("gives each version a worker and a style of its own, and viewers of one version share them", async () => {
  const [old, another, upgraded] = [await open("red"), await open("red"), await open("blue")];
  await vi.waitFor(() => expect(workers.map(({ code, sent }) => [code, sent.filter(({ op }) => op === "view").length])).toEqual([["store of red", 2], ["store of blue", 1]]));
  const rules = document.adoptedStyleSheets.flatMap((sheet) => [...sheet.cssRules]).map((rule) => rule as CSSStyleRule);
  const styled = (element: Element): string[] => rules.filter((rule) => rule.selectorText && element.matches(rule.selectorText)).map(({ cssText }) => /red|blue/.exec(cssText)?.[0] ?? "");
  expect([old, another, upgraded].map(styled)).toEqual([["red"], ["red"], ["blue"]]);
});
