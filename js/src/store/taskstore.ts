/** The part of a recording that is loaded: lines from the stream, from pages and from searches, and spans for the lines that are not loaded. */

import type { Complete, GapEvent, LogEvent, LogPage, PageNotice, SourceInfo, StatusEvent } from "../protocol/events.ts";
import { stripEscapes } from "../text/ansi.ts";
import { groupDigits } from "../text/format.ts";
import { fromIso, nsTimes } from "../text/time.ts";
import { addLine, mayStartBlock, rankOfLine, startFromFrame, startTraceback, type TracebackState } from "../text/tracebacks.ts";
import { MAX_CHARS } from "./folds.ts";
import { GAP, HOLE, NO_SOURCE, NOTICE } from "./lines.ts";
import { lowerBound } from "./sequence.ts";
import type { Outline, UnloadedSpan } from "./spans.ts";
import { TaskEvents } from "./taskevents.ts";

export class TaskStore extends TaskEvents {
  cursor = "";
  /** The server's completeness statement, once the task has ended. */
  complete: Complete | null = null;
  outline: Outline | null = null;
  /** Unloaded spans, ordered by time. */
  readonly spans: UnloadedSpan[] = [];
  /** Number of lines that came after the outline. */
  #linesSinceOutline = 0;
  /** Latest key of each source number of the recording. Backfilled older lines of a run have another number, and their own order. */
  readonly #lastKeyBySource = new Map<number, number>();
  /** Rows of search hits in unloaded spans, by sequence number. */
  readonly #searchHits = new Map<number, number>();
  /** Whether rows were removed because their lines were added again, such as loaded search hits. */
  hasReplacedRows = false;

  /** Number of lines of the whole recording, as far as known. */
  get recorded(): number {
    return Math.max(this.lines, (this.outline?.records ?? 0) + this.#linesSinceOutline);
  }

  /** Time of the last line or notice (ms). The notice of a task's end does not count: it is written some seconds later. */
  get lastTime(): number {
    let last = this.ended ? Math.max(this.newestLine, this.outline?.last ?? 0) : this.newest;
    if (this.ended) for (const { kind, to } of this.marks) if (kind !== "end" && to > last) last = to;
    return last || this.newest;
  }

  setOutline(outline: Outline, notices: PageNotice[] = [], sources: (SourceInfo & { lines?: number })[] = []): void {
    this.outline = outline;
    for (const source of this.sources) source.linesSince = 0;
    for (const { lines, ...info } of sources) {
      const source = this.sources[this.sourceId(info)];
      if (outline.isCounted && lines !== undefined) source.outlineLines = lines;
    }
    for (const notice of notices) {
      this.addMark(notice);
      if (notice.event !== "status") continue;
      this.timeline.add(notice as StatusEvent);
      this.updateSource(notice as StatusEvent);
    }
    this.#linesSinceOutline = 0;
    for (let row = 0; row < this.rows; row++) {
      if (this.seq[row] <= outline.lastSeq || this.flags[row] & (NOTICE | HOLE)) continue;
      this.#linesSinceOutline++;
      this.sources[this.source[row]].linesSince++;
    }
  }

  /** Return the source numbers of this task by the source numbers of an event. */
  #idsOf({ sources }: LogEvent): Map<number, number> {
    return new Map(Object.entries(sources).map(([id, info]) => [Number(id), this.sourceId(info)]));
  }

  addLog(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = this.#idsOf(event);
    const timeOf = nsTimes(event.t0);
    const done = this.folds.start(this.rows);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (!this.loaded.add(number)) continue;
      if (this.#searchHits.size > 0) this.#removeSearchHit(number);
      const id = ids.get(s[i]) ?? this.sourceId({ pod: "?", container: "?" });
      const time = timeOf(dt[i]);
      const source = this.sources[id];
      const key = Math.max(time, this.#lastKeyBySource.get(s[i]) ?? 0);
      this.#lastKeyBySource.set(s[i], key);
      if (key > source.lastKey) source.lastKey = key;
      if (this.outline === null || number > this.outline.lastSeq) {
        this.#linesSinceOutline++;
        source.linesSince++;
      }
      this.push(number, time, key, id, this.lineFlags(m[i], o?.[i] ?? 0), m[i]);
      this.folds.add(id * 3 + (o?.[i] ?? 0), this.rows - 1);
      source.lines++;
      source.errors += Number(this.isErrorLine(this.rows - 1));
    }
    done();
  }

  /**
   * Add a page of lines, within a span or before all loaded lines. Return the number of new lines. The keys of new lines stay
   * between the keys of the neighbouring loaded lines of the same source.
   */
  addPage(page: LogPage, span?: UnloadedSpan): number {
    const before = this.lines;
    const start = this.rows;
    const seam = span ? new Seam(this, span) : undefined;
    const ceiling = seam?.ceiling ?? this.sources.map((source) => source.firstKey);
    const floor = seam?.floor ?? [];
    const running: number[] = [];
    const done = this.folds.start(this.rows, true);
    for (const record of page.records) {
      const time = fromIso(record.time);
      // A page may have lines of another span, which stays as it is.
      if (seam?.isOutside(time) || !this.loaded.add(record.seq)) continue;
      this.#removeSearchHit(record.seq);
      const id = this.sourceId({ ...record.source, ...record });
      running[id] = Math.max(running[id] ?? (floor[id] - time < SEAM_MS ? floor[id] : -Infinity), time);
      const stream = record.stream === "stdout" ? 1 : record.stream === "stderr" ? 2 : 0;
      const top = ceiling[id] ?? Infinity;
      const key = running[id] - top < SEAM_MS ? Math.min(running[id], top) : running[id];
      this.push(record.seq, time, seam?.placeKey(id, record.seq, time, key) ?? key, id, this.lineFlags(record.text, stream), record.text);
      this.folds.add(id * 3 + stream, this.rows - 1);
      this.sources[id].lines++;
      this.sources[id].errors += Number(this.isErrorLine(this.rows - 1));
    }
    this.#rejoinBlocks(start);
    done();
    for (const [id, source] of this.sources.entries()) if (running[id] !== undefined && source.lastKey < running[id]) source.lastKey = running[id];
    for (const notice of page.notices ?? []) {
      if (notice.event === "end") continue;
      if (notice.event === "gap" || "from" in notice) this.addGap(notice as GapEvent);
      else this.addStatus(notice as StatusEvent, false);
    }
    if (span === undefined) this.older = page.older ?? null;
    return this.lines - before;
  }

  /** Add the rows of a split traceback again, in order. Its parts came in the wrong order, and a row can only join a row before it. */
  #rejoinBlocks(start: number): void {
    for (const rows of findSplitBlocks(this, start)) {
      const lines = rows.map((row) => ({ row, time: this.timeOf(row), text: this.texts[row], flags: this.flags[row] }));
      for (const { row, text } of lines) {
        this.characters -= text.length;
        this.texts[row] = "";
        this.flags[row] |= GAP | HOLE;
      }
      this.lines -= rows.length;
      this.removedRows += rows.length;
      this.hasReplacedRows = true;
      const stream = this.streamKey(rows[0]);
      this.folds.forgetForReload((row) => this.isRemoved(row), [stream]);
      for (const { row, time, text, flags } of lines) {
        this.push(this.seq[row], time, this.key[row], this.source[row], flags, text);
        this.folds.add(stream, this.rows - 1);
      }
    }
  }

  /** Add search hits: matching lines in unloaded spans. */
  addSearchHits(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = this.#idsOf(event);
    const timeOf = nsTimes(event.t0);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (this.loaded.has(number) || this.#searchHits.has(number)) continue;
      const time = timeOf(dt[i]);
      this.#searchHits.set(number, this.rows);
      this.push(number, time, time, ids.get(s[i])!, this.lineFlags(m[i], o?.[i] ?? 0) | HOLE, m[i]);
      this.lines--;
      this.characters -= m[i].length;
    }
  }

  get searchHits(): number[] {
    return [...this.#searchHits.values()];
  }

  forgetSearchHits(): void {
    for (const number of this.#searchHits.keys()) this.#removeSearchHit(number);
  }

  /** Remove the row of a search hit, because its line is loaded or it is no longer needed. */
  #removeSearchHit(number: number): void {
    const row = this.#searchHits.get(number);
    if (row === undefined) return;
    this.#searchHits.delete(number);
    this.texts[row] = "";
    this.flags[row] |= GAP | HOLE;
    this.removedRows++;
    this.hasReplacedRows = true;
  }

  /** Add a span, and the row that stands for it. */
  addSpan(span: Omit<UnloadedSpan, "row">): UnloadedSpan {
    const made = { ...span, row: this.rows };
    this.spans.push(made);
    this.spans.sort((a, b) => a.from - b.from);
    const about = span.lines > 1 ? `, about ${groupDigits(span.lines)} lines` : "";
    const text = `Not loaded: {${Math.floor(span.low)}} to {${Math.floor(span.high)}}${about}`;
    // Sort it after the last loaded line, even if that has the same time; without such a line, before all rows.
    if (span.from === -Infinity) this.push(0, span.low, Math.min(span.low, span.to - 1), NO_SOURCE, NOTICE | HOLE, text);
    else this.push(2 ** 32 - 1, span.from, span.from, NO_SOURCE, NOTICE | HOLE, text);
    return made;
  }

  /** Remove a span and its row. The flags mark the row as removed, so that new views skip it too. */
  closeSpan(span: UnloadedSpan): void {
    const at = this.spans.indexOf(span);
    if (at !== -1) this.spans.splice(at, 1);
    this.flags[span.row] |= GAP | HOLE;
    this.removedRows++;
  }

  /** Remove lines from memory. They can be loaded again. */
  dropRows(rows: number[]): void {
    for (const row of rows) {
      this.characters -= this.texts[row].length;
      this.texts[row] = "";
      this.sources[this.source[row]].lines--;
      this.sources[this.source[row]].errors -= Number(this.isErrorLine(row));
      this.flags[row] |= GAP | HOLE;
    }
    this.loaded.removeAll(Uint32Array.from(rows, (row) => this.seq[row]).toSorted());
    this.folds.forget((row) => this.isRemoved(row));
    this.lines -= rows.length;
    this.removedRows += rows.length;
  }

  override compact(): Int32Array {
    const moved = super.compact();
    for (const span of this.spans) span.row = moved[span.row];
    for (const [number, row] of this.#searchHits) this.#searchHits.set(number, moved[row]);
    return moved;
  }
}

/** If times of a page and of loaded lines of the same source overlap by less than this (ms), the page's lines are sorted before the loaded ones. */
const SEAM_MS = 10_000;
// Two writers in one container write lines whose times are not in order. Pages are cut by time, so two neighbouring lines may
// come in two pages.
/** Maximum difference of their times (ms). */
const MAX_CROSSING_MS = 100;
/** Maximum difference of their sequence numbers. */
const MAX_SEQ_DISTANCE = 1000;
/** Rounding error of a time (ms). */
const ROUNDING_MS = 0.01;

/** The loaded lines around a span: between their keys the span's lines must be sorted. */
class Seam {
  /** For each source the lowest key after the span. */
  readonly ceiling: number[] = [];
  /** For each source the highest key before the span. */
  readonly floor: number[] = [];
  /** For each source the sequence numbers and keys of its lines next to the span, ordered by sequence number. */
  readonly #near: [seq: number, key: number][][] = [];

  readonly #span: UnloadedSpan;

  constructor(
    store: TaskStore,
    span: UnloadedSpan,
  ) {
    this.#span = span;
    const { from, to } = span;
    for (let row = 0; row < store.rows; row++) {
      if (store.flags[row] & (NOTICE | GAP | HOLE)) continue;
      const id = store.source[row];
      const key = store.key[row];
      if (key >= to && !(key >= this.ceiling[id])) this.ceiling[id] = key;
      if (key <= from && !(key <= this.floor[id])) this.floor[id] = key;
      if (Math.abs(key - to) < MAX_CROSSING_MS || Math.abs(key - from) < MAX_CROSSING_MS) (this.#near[id] ??= []).push([store.seq[row], key]);
    }
    for (const near of this.#near) near?.sort(([a], [b]) => a - b);
  }

  isOutside(time: number): boolean {
    const { low, high, onDemand } = this.#span;
    return !onDemand && (time < low - ROUNDING_MS || time > high + ROUNDING_MS);
  }

  /** Return the key of a line, moved between the keys of its neighbours by sequence number in the same source. */
  placeKey(id: number, seq: number, time: number, key: number): number {
    const near = this.#near[id];
    if (near === undefined) return key;
    const low = lowerBound(near.length, (index) => near[index][0] < seq);
    const [before, after] = [near[low - 1], near[low]];
    let result = key;
    if (before && seq - before[0] < MAX_SEQ_DISTANCE && before[1] - time < MAX_CROSSING_MS) result = Math.max(result, before[1]);
    if (after && after[0] - seq < MAX_SEQ_DISTANCE && time - after[1] < MAX_CROSSING_MS) result = Math.min(result, after[1]);
    return result;
  }
}

/** The rest of a traceback is searched up to this far from a page's lines (difference of sequence numbers). */
const SEARCH_DISTANCE = 600;

/**
 * Return the rows, in file order, of each traceback that is in several folds: its parts came with the new page (rows from `start` on)
 * and before, or before on both sides of it.
 */
function findSplitBlocks(store: TaskStore, start: number): number[][] {
  const spans = new Map<number, { low: number; high: number; rows: number[] }>();
  for (let row = start; row < store.rows; row++) {
    if (store.flags[row] & NOTICE || store.isRemoved(row)) continue;
    const seq = store.seq[row];
    const span = spans.get(store.streamKey(row));
    if (span === undefined) spans.set(store.streamKey(row), { low: seq - SEARCH_DISTANCE, high: seq + SEARCH_DISTANCE, rows: [row] });
    else {
      span.low = Math.min(span.low, seq - SEARCH_DISTANCE);
      span.high = Math.max(span.high, seq + SEARCH_DISTANCE);
      span.rows.push(row);
    }
  }
  for (let row = 0; row < start; row++) {
    if (store.flags[row] & NOTICE || store.isRemoved(row) || store.isSearchHit(row)) continue;
    const span = spans.get(store.streamKey(row));
    if (span !== undefined && store.seq[row] >= span.low && store.seq[row] <= span.high) span.rows.push(row);
  }
  return [...spans.values()].flatMap(({ rows }) => (rows.some((row) => row < start) ? findBlocks(store, rows.toSorted((a, b) => store.seq[a] - store.seq[b])) : [])).filter((rows) => new Set(rows.map((row) => store.folds.headOf(store.folds.joining.get(row) ?? row))).size > 1);
}

/** Return the tracebacks in the lines of one stream. */
function findBlocks(store: TaskStore, rows: number[]): number[][] {
  const result: number[][] = [];
  const openByRank = new Map<string, { said: TracebackState; rows: number[]; pending: number[] }>();
  let before = "";
  for (const [i, row] of rows.entries()) {
    const raw = store.texts[row];
    if (openByRank.size > 0 && !isConsecutive(store, rows[i - 1], row)) openByRank.clear();
    const rank = rankOfLine(raw);
    const open = openByRank.get(rank);
    if (open === undefined && !mayStartBlock(raw)) {
      before = raw;
      continue;
    }
    const line = stripEscapes(raw.slice(0, MAX_CHARS)).replace(/\r$/, "");
    const verdict = open === undefined ? "no" : addLine(open.said, line);
    if (verdict === "maybe") open!.pending.push(row);
    else if (verdict === "yes") {
      open!.rows.push(...open!.pending, row);
      open!.pending = [];
    } else if (verdict === "no") {
      let said = startTraceback(line);
      const above = said === null && i > 0 && isConsecutive(store, rows[i - 1], row) ? startFromFrame(line, stripEscapes(before.slice(0, MAX_CHARS))) : null;
      if (above) addLine((said = above), line);
      openByRank.delete(rank);
      if (said !== null) {
        const block = { said, rows: above ? [rows[i - 1], row] : [row], pending: [] };
        openByRank.set(rank, block);
        result.push(block.rows);
      }
    }
    before = raw;
  }
  return result;
}

/** Return whether no line of the recording is missing between two lines. */
function isConsecutive(store: TaskStore, one: number, two: number): boolean {
  if (store.key[one] > store.key[two]) return false;
  for (let seq = store.seq[one] + 1; seq < store.seq[two]; seq++) if (!store.isLoaded(seq)) return false;
  return true;
}
