/** Row ids in display order. Appending and prepending copy only the new ids; a row that comes late moves only the ids after it. */

export type Compare = (a: number, b: number) => number;

/** Return the first index where `isBefore` is false; `length` if there is none. `isBefore` must be true up to some index, then false. */
export function lowerBound(length: number, isBefore: (index: number) => boolean): number {
  let [low, high] = [0, length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class RowSequence {
  #ids = new Uint32Array(1024);
  #start = 256;
  #end = 256;
  readonly #compare: Compare;

  constructor(compare: Compare) {
    this.#compare = compare;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  at(index: number): number {
    return this.#ids[this.#start + index];
  }

  /** Return the first index for whose id `before` is false. */
  lowerBound(before: (id: number) => boolean): number {
    return lowerBound(this.length, (index) => before(this.at(index)));
  }

  indexFor(id: number): number {
    return this.lowerBound((other) => this.#compare(other, id) < 0);
  }

  remove(id: number): void {
    const at = this.#start + this.indexFor(id);
    if (at >= this.#end || this.#ids[at] !== id) return;
    this.#ids.copyWithin(at, at + 1, this.#end--);
  }

  has(id: number): boolean {
    const at = this.indexFor(id);
    return at < this.length && this.at(at) === id;
  }

  removeAll(ids: Set<number>): void {
    this.retain((id) => !ids.has(id));
  }

  /** Keep only the ids that `wanted` accepts. */
  retain(wanted: (id: number) => boolean): void {
    let to = this.#start;
    for (let at = this.#start; at < this.#end; at++) {
      const id = this.#ids[at];
      if (wanted(id)) this.#ids[to++] = id;
    }
    this.#end = to;
  }

  /** Merge ids that are in display order. Return the lowest index that changed. */
  merge(ids: ArrayLike<number>): number {
    const count = ids.length;
    if (count === 0) return this.length;
    if (this.length > 0 && this.#compare(ids[count - 1], this.#ids[this.#start]) < 0) {
      this.#reserve(count, 0);
      this.#start -= count;
      this.#ids.set(ids, this.#start);
      return 0;
    }
    this.#reserve(0, count);
    if (this.length === 0 || this.#compare(ids[0], this.#ids[this.#end - 1]) >= 0) {
      this.#ids.set(ids, this.#end);
      this.#end += count;
      return this.length - count;
    }
    let old = this.#end - 1;
    let place = this.#end + count - 1;
    this.#end += count;
    for (let next = count - 1; next >= 0; place--) {
      const takesOld = old >= this.#start && this.#compare(this.#ids[old], ids[next]) > 0;
      this.#ids[place] = takesOld ? this.#ids[old--] : ids[next--];
    }
    return place + 1 - this.#start;
  }

  #reserve(front: number, back: number): void {
    if (this.#start >= front && this.#ids.length - this.#end >= back) return;
    const length = this.length;
    const head = front > 0 ? front + (length >>> 1) : Math.min(this.#start, 4096);
    const grown = new Uint32Array(head + length + back + (back > 0 ? (length >>> 2) + 1024 : 1024));
    grown.set(this.#ids.subarray(this.#start, this.#end), head);
    this.#ids = grown;
    this.#start = head;
    this.#end = head + length;
  }
}
