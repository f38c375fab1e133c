/** The columns of the chosen fields: their names above the lines, and their widths. The values are in the rows (row.ts). */

import type { Row } from "../protocol/update.ts";
import { h, setHidden } from "./dom.ts";

/** Maximum width of a column (characters). Longer values are cut. */
const MAX_WIDTH = 24;
/** Characters that the button behind a name takes. */
const BUTTON_WIDTH = 2;

export class FieldColumns {
  #cells = h("span", {});
  /** Has the columns of a row, so that the names stand above the values. */
  readonly element = h("div", { class: "cl-colhead", role: "group", "aria-label": "Columns", hidden: true }, this.#cells);
  #fields: readonly string[] = [];
  #widths: number[] = [];

  readonly #root: HTMLElement;
  readonly #remove: (field: string) => void;

  constructor(root: HTMLElement, remove: (field: string) => void) {
    this.#root = root;
    this.#remove = remove;
  }

  show(fields: readonly string[]): void {
    if (fields.join("\n") === this.#fields.join("\n")) return;
    this.#fields = fields;
    this.#widths = [];
    setHidden(this.element, fields.length === 0);
    this.#cells.replaceChildren(...fields.map((field, i) => h("button", { class: "cl-col", style: columnStyle(i), title: `${field}: remove the column`, "aria-label": `Remove the column ${field}`, onclick: () => this.#remove(field) }, h("span", {}, field), " ×")));
    this.#widen(fields.map((field) => field.length + BUTTON_WIDTH));
  }

  /** Make room for the values. Columns never become narrower while the same fields are shown, so that they stay where they are. */
  update(rows: Row[]): void {
    if (this.#fields.length === 0) return;
    this.#widen(this.#fields.map((_unused, i) => rows.reduce((most, { values }) => Math.max(most, values?.[i]?.length ?? 0), 0)));
  }

  /** Adjust to the width of the lines' scroll bar (px). */
  measure(scrollBar: number): void {
    this.element.style.right = `${scrollBar}px`;
  }

  #widen(needed: number[]): void {
    for (const [i, width] of needed.entries()) {
      const wider = Math.min(MAX_WIDTH, Math.max(this.#widths[i] ?? 0, width));
      if (wider !== this.#widths[i]) this.#root.style.setProperty(`--col${i}`, `${(this.#widths[i] = wider)}ch`);
    }
  }
}

export function columnStyle(index: number): string {
  return `width:var(--col${index})`;
}
