/** The rows of a task in memory, their flags, and the sequence numbers (`seq`) that are loaded. */

import type { SourceInfo, SourceKind } from "../protocol/events.ts";
import { ERROR, levelOf, WARNING } from "../text/level.ts";
import { type EqualLines, Folds } from "./folds.ts";
import { lowerBound } from "./sequence.ts";

export const LEVEL_BITS = 7;
export const NOTICE = 8;
export const GAP = 16;
const STDOUT = 32;
const STDERR = 64;
/** With NOTICE: the end of a container or of the task that has failed. */
export const FAILED = 64;
/**
 * With NOTICE: a row that stands for lines that are not loaded. Alone: a search hit, whose neighbours are not loaded. With GAP: a
 * removed row.
 */
export const HOLE = 128;
export const NO_SOURCE = 0xffff;

/** One run of one container. */
export interface Source {
  pod: string;
  container: string;
  kind: SourceKind;
  role: string;
  rank: string;
  attempt: string;
  run: number;
  /** Number of loaded lines. */
  lines: number;
  /** Number of errors among them. */
  errors: number;
  /** Number of lines in the server's outline. */
  outlineLines: number;
  /** Number of lines that came after the outline. */
  linesSince: number;
  firstKey: number;
  lastKey: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  node: string;
  /** Time of the start and the end (ms); 0 if not known. */
  startedAt: number;
  endedAt: number;
  /** The termination message. */
  endMessage: string;
  /** Completion index of the pod, for an indexed Job; otherwise null. */
  index: number | null;
  /** Name of the pod's main container; "" if it is not known. */
  mainContainer: string;
}

/** The sequence numbers that are loaded, as ranges. They make sure that a line is added only once, even if a server sends it again. */
export class SeqRanges {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  has(seq: number): boolean {
    return this.#starts[this.#endingAfter(seq)] <= seq;
  }

  /** Return the index of the first range that ends after `seq`. */
  #endingAfter(seq: number): number {
    return lowerBound(this.#ends.length, (index) => this.#ends[index] <= seq);
  }

  /** Remove sequence numbers, given in ascending order. */
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

  /** Add a sequence number. Return false if it was there already. */
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
    // The first range that ends at or after `seq`.
    const low = lowerBound(last, (index) => this.#ends[index] < seq);
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

export class LineTable {
  readonly texts: string[] = [];
  /** Sort key: the latest time in the source up to this line (ms), so that the lines of a source always stay in file order. */
  key = new Float64Array(1024);
  /** How far the key is ahead of the line's own time (ms). Few rows need it, so the array ends with the last one that does. */
  #lag = new Float32Array(0);
  seq = new Uint32Array(1024);
  source = new Uint16Array(1024);
  flags = new Uint8Array(1024);
  /** Which rows belong together. */
  folds = this.#newFolds("");
  readonly hints = new Map<number, string>();
  readonly sources: Source[] = [];
  /** Number of loaded lines. */
  lines = 0;
  /** Number of characters in the loaded lines. */
  characters = 0;
  /** Number of removed rows that still take room in the arrays. */
  removedRows = 0;
  newest = 0;
  newestLine = 0;
  readonly #ids = new Map<string, number>();
  protected readonly loaded = new SeqRanges();

  constructor(readonly task: string) {}

  get rows(): number {
    return this.texts.length;
  }

  timeOf(row: number): number {
    return row < this.#lag.length ? this.key[row] - this.#lag[row] : this.key[row];
  }

  /** Return the sort key of a row: the key of its fold's head. */
  displayKey(row: number): number {
    return this.key[this.folds.rootOf(row)];
  }

  /** Return the key of the first loaded line. */
  get firstKey(): number {
    let first = Infinity;
    for (let row = 0; row < this.rows; row++) if (!(this.flags[row] & (NOTICE | GAP | HOLE)) && this.key[row] < first) first = this.key[row];
    return first;
  }

  /** Return a row's level. A line of a traceback is an error, whatever its text says. */
  levelOf(row: number): number {
    const said = this.folds.heads.get(this.folds.headOf(row))?.traceback;
    return Math.max(this.flags[row] & LEVEL_BITS, said ? (said.kind === "nccl" ? WARNING : ERROR) : 0);
  }

  /** Return whether a line is an error by its own text. */
  isErrorLine(row: number): boolean {
    return (this.flags[row] & LEVEL_BITS) >= ERROR;
  }

  /** Return a number that identifies the source and the stream of a line. */
  streamKey(row: number): number {
    return this.source[row] * 3 + (this.flags[row] & STDERR ? 2 : this.flags[row] & STDOUT ? 1 : 0);
  }

  streamOf(row: number): string {
    return this.flags[row] & STDERR ? "stderr" : this.flags[row] & STDOUT ? "stdout" : "";
  }

  /** Return whether a line is loaded. A search hit is not. */
  isLoaded(seq: number): boolean {
    return this.loaded.has(seq);
  }

  isRemoved(row: number): boolean {
    return (this.flags[row] & (GAP | HOLE)) === (GAP | HOLE);
  }

  isSearchHit(row: number): boolean {
    return (this.flags[row] & (HOLE | NOTICE | GAP)) === HOLE;
  }

  /** Return the key of a container with all its runs. */
  containerKey({ pod, container }: { pod: string; container: string }): string {
    return `${this.task}/${pod}/${container}`;
  }

  /** Return the key of one run of a container. */
  runKey(source: { pod: string; container: string; run?: number }): string {
    return `${this.containerKey(source)}/${source.run ?? 0}`;
  }

  sourceId(info: Partial<SourceInfo> & { pod: string; container: string }): number {
    const name = `${info.pod}/${info.container}/${info.run ?? 0}`;
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.sources.length;
      this.#ids.set(name, id);
      const kind = info.kind ?? this.sources.find((other) => other.container === info.container)?.kind ?? "main";
      const { pod, container, role = "", rank = "", attempt = "", run = 0 } = info;
      this.sources.push({ pod, container, kind, role, rank, attempt, run, lines: 0, errors: 0, outlineLines: 0, linesSince: 0, firstKey: Infinity, lastKey: -Infinity, state: "running", exit: null, node: info.node ?? "", startedAt: 0, endedAt: 0, endMessage: "", index: null, mainContainer: "" });
    } else if (info.role || info.rank) Object.assign(this.sources[id], { role: info.role ?? "", rank: info.rank ?? "", attempt: info.attempt ?? "" });
    return id;
  }

  protected lineFlags(text: string, stream: number): number {
    return levelOf(text) | (stream === 1 ? STDOUT : stream === 2 ? STDERR : 0);
  }

  protected push(seq: number, time: number, key: number, source: number, flags: number, text: string): void {
    const row = this.texts.length;
    if (row >= this.key.length) {
      this.key = grow(this.key, row + 1);
      this.seq = grow(this.seq, row + 1);
      this.source = grow(this.source, row + 1);
      this.flags = grow(this.flags, row + 1);
      this.folds.reserve(this.key.length);
    }
    this.texts.push(text);
    this.key[row] = key;
    if (key !== time) this.#lag = grow(this.#lag, row + 1);
    if (row < this.#lag.length) this.#lag[row] = key - time;
    this.seq[row] = seq;
    this.source[row] = source;
    this.flags[row] = flags;
    if (time > this.newest) this.newest = time;
    const owner = this.sources[source];
    if (owner && !(flags & NOTICE) && key < owner.firstKey) owner.firstKey = key;
    if (flags & NOTICE) return;
    this.lines++;
    this.characters += text.length;
    if (time > this.newestLine) this.newestLine = time;
  }

  /** Delete removed rows from the arrays. Return the new row numbers by the old ones, -1 for removed rows. */
  compact(): Int32Array {
    const moved = new Int32Array(this.rows).fill(-1);
    const hints = [...this.hints];
    if (this.#lag.length > 0) this.#lag = grow(this.#lag, this.rows);
    const columns = this.#lag.length > 0 ? [this.key, this.#lag, this.seq, this.source, this.flags] : [this.key, this.seq, this.source, this.flags];
    let to = 0;
    for (let row = 0; row < moved.length; row++) {
      if (this.isRemoved(row)) continue;
      moved[row] = to;
      for (const column of columns) column[to] = column[row];
      this.texts[to++] = this.texts[row];
    }
    this.texts.length = to;
    this.folds.renumber(moved);
    this.hints.clear();
    for (const [row, hint] of hints) if (moved[row] >= 0) this.hints.set(moved[row], hint);
    this.removedRows = 0;
    return moved;
  }

  #newFolds(same: EqualLines): Folds {
    return new Folds({ texts: this.texts, pod: (row) => this.sources[this.source[row]]?.pod ?? "", time: (row) => this.timeOf(row) }, same);
  }

  /** Find all folds again, because equal lines are to be folded in another way. */
  refold(same: EqualLines): void {
    this.folds = this.#newFolds(same);
    this.folds.reserve(this.key.length);
    const order: number[] = [];
    for (let row = 0; row < this.rows; row++) if (!(this.flags[row] & (NOTICE | HOLE))) order.push(row);
    const done = this.folds.start(0);
    for (const row of order.toSorted((a, b) => this.seq[a] - this.seq[b])) this.folds.add(this.streamKey(row), row);
    done();
    this.folds.start(this.rows)();
    this.folds.settle();
    this.folds.changedHeads.clear();
  }
}

function grow<T extends Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array>(array: T, length: number): T {
  if (length <= array.length) return array;
  const bigger = new (array.constructor as new (length: number) => T)(Math.max(length, Math.ceil(array.length * 1.25)));
  bigger.set(array);
  return bigger;
}
