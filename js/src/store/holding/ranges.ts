/** Which sequence numbers are here already, as ranges: what makes delivery exactly-once, whatever a server repeats. */
export class SeqRanges {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  has(seq: number): boolean {
    return this.#starts[this.#endingAfter(seq)] <= seq;
  }

  /** The first range that ends after a number. */
  #endingAfter(seq: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle] <= seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Numbers, ascending, that are not here any more. */
  removeAll(numbers: ArrayLike<number>): void {
    for (let i = 0; i < numbers.length; ) {
      const from = numbers[i];
      let to = from + 1;
      while (++i < numbers.length && numbers[i] === to) to++;
      this.#remove(from, to);
    }
  }

  #remove(from: number, to: number): void {
    const first = this.#endingAfter(from);
    let low = first;
    while (low < this.#starts.length && this.#starts[low] < to) low++;
    if (low === first) return;
    const [start, end] = [this.#starts[first], this.#ends[low - 1]];
    const left: [number, number][] = [];
    if (start < from) left.push([start, from]);
    if (end > to) left.push([to, end]);
    this.#starts.splice(first, low - first, ...left.map(([one]) => one));
    this.#ends.splice(first, low - first, ...left.map(([, one]) => one));
  }

  /** False when the number was there already. */
  add(seq: number): boolean {
    const last = this.#ends.length - 1;
    if (last >= 0 && seq === this.#ends[last]) {
      this.#ends[last]++;
      return true;
    }
    if (last < 0 || seq > this.#ends[last]) {
      this.#starts.push(seq);
      this.#ends.push(seq + 1);
      return true;
    }
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ends[middle] < seq) low = middle + 1;
      else high = middle;
    }
    // `low` is the first range that ends at or after seq.
    if (this.#starts[low] <= seq && seq < this.#ends[low]) return false;
    if (this.#ends[low] === seq) {
      this.#ends[low]++;
      if (this.#starts[low + 1] === seq + 1) {
        this.#ends[low] = this.#ends[low + 1];
        this.#starts.splice(low + 1, 1);
        this.#ends.splice(low + 1, 1);
      }
    } else if (this.#starts[low] === seq + 1) this.#starts[low]--;
    else {
      this.#starts.splice(low, 0, seq);
      this.#ends.splice(low, 0, seq + 1);
    }
    return true;
  }
}
