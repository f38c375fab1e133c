/**
 * Folds: rows that belong together. They are the lines of a traceback, the states of a progress bar, the same traceback in many
 * pods (its twins), or equal lines. They are found as lines arrive, source by source. The first row of a fold is its head; each
 * other row is a member and stores the distance to the head.
 */

import { plainText, stripEscapes } from "../text/ansi.ts";
import { mayBeBar, parseProgress } from "../text/progress.ts";
import { addLine, mayStartBlock, rankOfLine, startFromFrame, startTraceback, type TracebackState, tracebackTitle } from "../text/tracebacks.ts";

export interface Fold {
  /** State of a traceback; null for a progress bar and for equal lines. */
  traceback: TracebackState | null;
  /** Number of rows below the head. */
  rows: number;
  last: number;
  /** Heads of the folds that hold the same traceback in other pods. */
  twins: number[];
}

/** What the folds need to know of the rows. */
interface FoldRows {
  readonly texts: string[];
  pod(row: number): string;
  time(row: number): number;
}

interface OpenTraceback {
  traceback: TracebackState;
  head: number;
  /** Rows that belong to the traceback only if a later row does. */
  pending: number[];
}

/** The state of reading one stream of one source, line by line. */
interface StreamReader {
  /** Tracebacks that may continue, by rank. */
  open: Map<string, OpenTraceback>;
  before: number;
  bars: Map<string, [head: number, step: number]>;
  /** The next lines are compared with this line. */
  equal: [head: number, text: string] | null;
}

/** Which consecutive lines of a stream are folded: none, equal lines, or lines that differ only in numbers. */
export type EqualLines = "" | "exact" | "masked";

/** Only this many characters of a line are examined. */
export const MAX_CHARS = 2000;
const MAX_DISTANCE = 0xffff;
/** Equal failures of several pods within this time (ms) are shown as one. */
const TWIN_WINDOW_MS = 60_000;
/** Numbers and generated names: what equal lines may differ in. */
const MASKED = /\b[0-9a-f]{8,}\b|\b[0-9a-f]{4,}(?:-[0-9a-f]{4,})+\b|0x[0-9a-fA-F]+|\d+(?:\.\d+)?/g;
/** Numbers: what the messages of twins may differ in. */
const VARYING = /0x[0-9a-fA-F]+|\d+(?:\.\d+)?/g;

export class Folds {
  /** For each row the distance to its head; 0 for a head and for a row without a fold. */
  back = new Uint16Array(1024);
  readonly heads = new Map<number, Fold>();
  /** Rows that are shown already and turned out to be members of a fold, with its head. They join it in `settle`. */
  readonly joining = new Map<number, number>();
  /** Heads of the folds that the last lines have changed. */
  readonly changedHeads = new Set<number>();
  #readers: StreamReader[] = [];
  #base = 0;
  #finished = new Set<number>();
  /** Streams whose readers refer to removed rows. */
  readonly #resetStreams = new Set<number>();
  readonly #headBySignature = new Map<string, number>();

  readonly #rows: FoldRows;

  constructor(
    rows: FoldRows,
    readonly equalLines: EqualLines = "",
  ) {
    this.#rows = rows;
  }

  /** Begin to add lines from row `base` on. Return a function to call after the last one. `older` lines do not continue the stream. */
  start(base: number, older = false): () => void {
    this.settle();
    this.changedHeads.clear();
    this.#base = base;
    this.#resetStreams.clear();
    const readers = this.#readers;
    if (older) this.#readers = [];
    return () => {
      this.#groupTwins(older);
      this.#readers = readers;
      for (const stream of this.#resetStreams) delete readers[stream];
    };
  }

  /** Forget removed rows. A fold is removed as a whole. */
  forget(isGone: (row: number) => boolean): void {
    this.settle();
    for (const [head, fold] of this.heads) {
      if (isGone(head)) {
        this.heads.delete(head);
        this.changedHeads.delete(head);
      } else fold.twins = fold.twins.filter((row) => !isGone(row));
    }
    for (const head of this.#finished) if (isGone(head)) this.#finished.delete(head);
    for (const [sign, head] of this.#headBySignature) if (isGone(head)) this.#headBySignature.delete(sign);
    this.#readers = [];
  }

  /** Forget removed rows of these streams. They are about to be added again, together with older lines. */
  forgetForReload(isGone: (row: number) => boolean, streams: number[]): void {
    for (const stream of streams) this.#resetStreams.add(stream);
    this.forget(isGone);
  }

  /** Adjust to new row numbers. `moved` holds them by the old ones, -1 for removed rows. */
  renumber(moved: Int32Array): void {
    const back = new Uint16Array(this.back.length);
    for (let row = 0; row < moved.length; row++) {
      if (moved[row] < 0 || this.back[row] === 0) continue;
      const head = moved[row - this.back[row]];
      if (head >= 0) back[moved[row]] = moved[row] - head;
    }
    this.back = back;
    const heads = [...this.heads];
    this.heads.clear();
    for (const [head, fold] of heads) {
      let { last } = fold;
      while (last > head && moved[last] < 0) last--;
      this.heads.set(moved[head], { ...fold, last: moved[last], twins: fold.twins.map((row) => moved[row]) });
    }
    this.#finished = new Set([...this.#finished].map((row) => moved[row]));
    for (const [sign, head] of this.#headBySignature) this.#headBySignature.set(sign, moved[head]);
    this.changedHeads.clear();
    this.#readers = [];
  }

  reserve(length: number): void {
    if (length <= this.back.length) return;
    const bigger = new Uint16Array(length);
    bigger.set(this.back);
    this.back = bigger;
  }

  add(stream: number, row: number): void {
    const reader = (this.#readers[stream] ??= { open: new Map(), before: -1, bars: new Map(), equal: null });
    const { before } = reader;
    const raw = this.#rows.texts[row];
    const rank = rankOfLine(raw);
    const open = reader.open.get(rank);
    reader.before = row;
    if (open === undefined && before >= 0 && reader.bars.size === 0 && !mayStartBlock(raw)) {
      if (this.equalLines !== "") this.#foldEqual(reader, row, raw);
      return;
    }
    const text = raw.length > MAX_CHARS ? raw.slice(0, MAX_CHARS) : raw;
    const line = plainText(text).replace(/\r$/, "");
    if (open !== undefined) {
      const verdict = addLine(open.traceback, line);
      if (verdict === "maybe") {
        if (!mayBeBar(raw)) {
          open.pending.push(row);
          return;
        }
      } else if (verdict === "yes") {
        for (const one of [...open.pending, row]) if (!this.#join(one, open.head)) reader.open.delete(rank);
        open.pending = [];
        const fold = this.heads.get(open.head);
        if (fold) fold.traceback = open.traceback;
        reader.equal = null;
        return;
      } else if (verdict === "no") {
        reader.open.delete(rank);
        if (this.equalLines !== "") for (const one of open.pending) this.#foldEqual(reader, one, this.#rows.texts[one]);
      }
    }
    if (this.#foldBar(reader, row, raw)) return;
    if (line !== "") reader.bars.clear();
    if (reader.open.has(rank)) return;
    let traceback = startTraceback(line);
    let head = row;
    if (traceback === null && before >= 0 && /^\s|^frame #/.test(line) && this.back[before] === 0) {
      traceback = startFromFrame(line, stripEscapes(this.#rows.texts[before].slice(0, MAX_CHARS)));
      head = before;
    }
    if (traceback === null) {
      if (this.equalLines !== "") this.#foldEqual(reader, row, raw);
      return;
    }
    reader.equal = null;
    reader.open.set(rank, { traceback, head, pending: [] });
    if (head === row) return;
    addLine(traceback, line);
    this.#join(row, head);
    this.heads.get(head)!.traceback = traceback;
  }

  #foldEqual(reader: StreamReader, row: number, raw: string): void {
    const text = this.equalLines === "exact" ? raw : raw.slice(0, MAX_CHARS).replace(MASKED, "#");
    if (reader.equal?.[1] !== text || !this.#join(row, reader.equal[0])) reader.equal = [row, text];
  }

  #foldBar(reader: StreamReader, row: number, raw: string): boolean {
    const bar = mayBeBar(raw) ? parseProgress(raw) : null;
    if (bar === null) return false;
    const key = `${bar.label} ${bar.total}`;
    const [head, at] = reader.bars.get(key) ?? [-1, 0];
    const now = bar.step ?? bar.fraction ?? 0;
    // If the step goes back, a new bar has begun.
    const same = head >= 0 && now >= at && this.#join(row, head);
    reader.bars.set(key, [same ? head : row, now]);
    reader.equal = null;
    return true;
  }

  #join(row: number, head: number): boolean {
    if (row - head > MAX_DISTANCE || row <= head) return false;
    if (row < this.#base) this.joining.set(row, head);
    else this.back[row] = row - head;
    const fold = this.heads.get(head) ?? { traceback: null, rows: 0, last: head, twins: [] };
    fold.rows++;
    fold.last = row;
    this.heads.set(head, fold);
    this.changedHeads.add(head);
    return true;
  }

  /** Add the rows in `joining` to their folds. */
  settle(): void {
    for (const [row, head] of this.joining) this.back[row] = row - head;
    this.joining.clear();
  }

  /** Make complete tracebacks twins of the same traceback in another pod. A traceback that these lines have not extended is complete. */
  #groupTwins(all: boolean): void {
    for (const head of this.#finished) {
      if (this.changedHeads.has(head) && !all) continue;
      this.#finished.delete(head);
      this.#joinTwin(head);
    }
    for (const head of this.changedHeads) {
      if (!this.heads.get(head)?.traceback?.type) continue;
      if (all) this.#joinTwin(head);
      else this.#finished.add(head);
    }
  }

  #joinTwin(head: number): void {
    const traceback = this.heads.get(head)!.traceback!;
    if (traceback.frames === 0) return;
    const sign = [traceback.kind, traceback.frameHash, ...[traceback.type, traceback.message, ...traceback.chain].map((text) => text.replace(VARYING, "#"))].join("\n");
    const first = this.#headBySignature.get(sign);
    const fold = first === undefined ? undefined : this.heads.get(first);
    const together = fold && head > first! && Math.abs(this.#rows.time(head) - this.#rows.time(first!)) < TWIN_WINDOW_MS && head - first! <= MAX_DISTANCE;
    if (!together || [first!, ...fold.twins].some((one) => this.#rows.pod(one) === this.#rows.pod(head))) {
      this.#headBySignature.set(sign, head);
      return;
    }
    fold.twins.push(head);
    if (head < this.#base) this.joining.set(head, first!);
    else this.back[head] = head - first!;
    this.changedHeads.add(first!);
  }

  /**
   * Return the head of the outermost fold that holds a row. A twin is a fold within another one. A row that is not there belongs
   * to no fold: `back` is undefined for it, and a loop until 0 would never end.
   */
  rootOf(row: number): number {
    while (this.back[row] > 0) row -= this.back[row];
    return row;
  }

  /** Return the head of the innermost fold that holds a row; the row itself if it is a head or has no fold. */
  headOf(row: number): number {
    while (this.back[row] > 0 && !this.heads.has(row)) row -= this.back[row];
    return row;
  }

  /** Return the members of a fold, followed by its twins. */
  membersOf(head: number): number[] {
    const fold = this.heads.get(head);
    if (fold === undefined) return [];
    const result: number[] = [];
    for (let row = head + 1; row <= fold.last; row++) if (this.back[row] === row - head && !fold.twins.includes(row)) result.push(row);
    return [...result, ...fold.twins.filter((row) => this.back[row] === row - head)];
  }

  /** Return the text of a fold that a search tests. */
  textOf(head: number): string {
    const fold = this.heads.get(head)!;
    // Of a bar only the last state counts.
    if (fold.traceback === null && mayBeBar(this.#rows.texts[head])) return this.#rows.texts[fold.last];
    return [head, ...this.membersOf(head)].map((row) => (row !== head && this.heads.has(row) ? this.textOf(row) : this.#rows.texts[row])).join("\n");
  }

  titleOf(head: number): string {
    return tracebackTitle(this.heads.get(head)!.traceback!);
  }
}
