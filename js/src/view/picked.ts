/** The rows that the reader has picked: from one to another, in the order they are shown, found again when others come between. */

import type { Row } from "../types/rows.ts";

interface End {
  id: number;
  index: number;
}

export class RowSelection {
  #tail: End | null = null;
  head: End | null = null;

  /** Picked by the reader, and not only gone to. */
  isDeliberate = false;

  set(id: number, index: number, deliberate = true): void {
    this.#tail = this.head = { id, index };
    this.isDeliberate = deliberate;
  }

  extend(id: number, index: number): void {
    this.#tail ??= { id, index };
    this.head = { id, index };
    this.isDeliberate = true;
  }

  clear(): void {
    this.#tail = this.head = null;
  }

  /** Ids of the first and the last row; null where nothing is picked. */
  get ends(): [first: number, last: number] | null {
    if (this.#tail === null || this.head === null) return null;
    return this.#tail.index <= this.head.index ? [this.#tail.id, this.head.id] : [this.head.id, this.#tail.id];
  }

  get count(): number {
    return this.#tail === null || this.head === null ? 0 : Math.abs(this.head.index - this.#tail.index) + 1;
  }

  has(index: number): boolean {
    if (this.#tail === null || this.head === null) return false;
    return index >= Math.min(this.#tail.index, this.head.index) && index <= Math.max(this.#tail.index, this.head.index);
  }

  /** Rows have come or gone: an end that is among these tells by how many all have moved. */
  reindex(rows: Row[], first: number): void {
    for (const end of new Set([this.#tail, this.head])) {
      const at = end === null ? -1 : rows.findIndex(({ id }) => id === end.id);
      if (end !== null && at !== -1) {
        const moved = first + at - end.index;
        for (const one of new Set([this.#tail, this.head])) if (one !== null) one.index += moved;
        return;
      }
    }
  }
}
