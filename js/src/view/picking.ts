/** Rows are picked by pointer and keys; what is picked stays in sight. */

import type { Rows } from "./rows.ts";
import type { Sheet } from "./sheet.ts";

export class Picking {
  constructor(
    private readonly rows: Rows,
    private readonly sheet: Sheet,
  ) {}

  /** Picks the row of an element, or all up to it. */
  pick(element: Element, upTo: boolean): void {
    const row = this.sheet.rowOf(element);
    if (row === undefined) return;
    if (upTo) this.rows.picked.extend(row.id, row.index);
    else this.rows.picked.set(row.id, row.index);
    this.rows.draw();
  }

  /** Opens what is below or within the picked row, or folds it. */
  open(): void {
    const element = this.rows.picked.head === null ? undefined : this.sheet.elementOf(this.rows.picked.head.id);
    element?.querySelector<HTMLElement>("button.cl-tw, .cl-m")?.click();
  }

  /** Moves what is picked by a row; with Shift its end only. */
  move(by: 1 | -1, upTo: boolean): boolean {
    const { head } = this.rows.picked;
    const index = head === null ? this.rows.place.index : head.index + by;
    const row = this.sheet.row(index);
    if (row === undefined || row.id < 0) return false;
    if (upTo) this.rows.picked.extend(row.id, index);
    else this.rows.picked.set(row.id, index);
    const visible = this.rows.capacity - 3;
    if (index < this.rows.place.index || index > this.rows.place.index + visible) {
      this.rows.setFollow(false);
      this.rows.place = { index: Math.max(0, index < this.rows.place.index ? index : index - visible), px: 0 };
      this.rows.ask();
    }
    this.rows.draw();
    return true;
  }
}
