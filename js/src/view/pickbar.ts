/** What can be done with the picked rows; in the status bar's place while there are some. */

import { button, h, setHidden, setText } from "./dom.ts";
import { groupDigits } from "./format.ts";
import { Menu } from "./menu.ts";

export type CopyAs = "text" | "json" | "code";

export interface PickActions {
  copy(as: CopyAs): void;
  context(): void;
  mark(): void;
  drop(): void;
}

export class PickBar {
  #count = h("span", { "aria-live": "polite" });
  #message = h("span", { class: "cl-state", "data-tone": "good", "aria-live": "polite" });
  readonly element: HTMLElement;

  constructor(actions: PickActions) {
    const copy = new Menu("Copy ▾", "Copy the picked lines", () => [
      { label: "As text (y)", act: () => actions.copy("text") },
      { label: "As JSON", act: () => actions.copy("json") },
      { label: "As code (Y)", act: () => actions.copy("code") },
    ]);
    this.element = h(
      "div",
      { class: "cl-status cl-pickbar", role: "toolbar", "aria-label": "Picked lines", hidden: true },
      this.#count,
      copy.element,
      button("In context", "Show the line in context: without the filter (c)", actions.context),
      button("Bookmark", "Bookmark the line, with a note (m)", actions.mark),
      this.#message,
      h("span", { class: "cl-grow" }),
      button("×", "Pick nothing (Esc)", actions.drop, { class: "btn" }),
    );
  }

  update(count: number): void {
    setHidden(this.element, count === 0);
    setText(this.#count, count === 1 ? "1 line picked" : `${groupDigits(count)} lines picked`);
    setText(this.#message, "");
  }

  showMessage(words: string): void {
    setText(this.#message, words);
  }
}

/** Where pages have no clipboard (plain http), the old way still works. */
export async function copyToClipboard(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea", { style: "position:fixed;opacity:0" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("this page may not write to the clipboard");
}
