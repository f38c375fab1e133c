// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from "vitest";
import { copyToClipboard, h } from "../../src/ui/dom.ts";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

it.each([true, false])("copying on a page without a clipboard (allowed: %s) leaves the focus where it was", async (allowed) => {
  vi.stubGlobal("navigator", {});
  // As browsers do, other than happy-dom.
  vi.spyOn(HTMLTextAreaElement.prototype, "select").mockImplementation(function (this: HTMLTextAreaElement) {
    this.focus();
  });
  const copied: string[] = [];
  Object.assign(document, { execCommand: () => copied.push((document.activeElement as HTMLTextAreaElement).value) > 0 && allowed });
  const lines = h("div", { tabindex: "0" });
  document.body.replaceChildren(lines);
  lines.focus();
  await copyToClipboard("loss=1").catch(() => {});
  expect([copied, document.activeElement]).toEqual([["loss=1"], lines]);
});
