/** Rows are picked by pointer and keys; what is picked stays in sight. */

import type { Rows } from "./rows.ts";
import type { RowPool } from "./sheet.ts";

export class RowPicker {
  constructor(
    private readonly rows: Rows,
    private readonly pool: RowPool,
  ) {}

  /** Picks the row of an element, or all up to it. */
  pick(element: Element, upTo: boolean): void {
    const row = this.pool.rowOf(element);
    if (row === undefined) return;
    if (upTo) this.rows.selection.extend(row.id, row.index);
    else this.rows.selection.set(row.id, row.index);
    this.rows.draw();
  }

  /** Opens what is below or within the picked row, or folds it. */
  open(): void {
    const element = this.rows.selection.head === null ? undefined : this.pool.elementOf(this.rows.selection.head.id);
    element?.querySelector<HTMLElement>("button.cl-tw, .cl-m")?.click();
  }

  /** Moves what is picked by a row; with Shift its end only. */
  move(by: 1 | -1, upTo: boolean): boolean {
    const { head } = this.rows.selection;
    const index = head === null ? this.rows.place.index : head.index + by;
    const row = this.pool.row(index);
    if (row === undefined || row.id < 0) return false;
    if (upTo) this.rows.selection.extend(row.id, index);
    else this.rows.selection.set(row.id, index);
    const visible = this.rows.capacity - 3;
    if (index < this.rows.place.index || index > this.rows.place.index + visible) {
      this.rows.setFollow(false);
      this.rows.place = { index: Math.max(0, index < this.rows.place.index ? index : index - visible), px: 0 };
      this.rows.requestRows();
    }
    this.rows.draw();
    return true;
  }
}
