/** What is here of one task's recording and what is not: lines as they stream, in pages, and those that a search has found. */

import type { Complete, GapEvent, LogEvent, LogPage, PageNotice, SourceInfo, StatusEvent } from "../../types/events.ts";
import { fromIso, fromNs } from "../parsing/time.ts";
import { GAP, HOLE, NO_SOURCE, NOTICE } from "./flags.ts";
import { groupDigits } from "../../view/format.ts";
import type { Outline } from "./outline.ts";
import { TaskEvents } from "./notices.ts";
import { Seam, SEAM_MS } from "./seam.ts";
import type { UnloadedSpan } from "./spans.ts";
import { findSplitBlocks } from "./torn.ts";

export class TaskStore extends TaskEvents {
  cursor = "";
  /** What the server counts, once the task has ended. */
  complete: Complete | null = null;
  outline: Outline | null = null;
  /** What is not here, by time. */
  readonly spans: UnloadedSpan[] = [];
  /** Lines that came after those that the outline counts. */
  #linesSinceOutline = 0;
  /** Latest key per source of the recording: older lines of a run come as another source of the same name. */
  readonly #lastKeyBySource = new Map<number, number>();
  /** Lines that a search has found where nothing else is loaded, by number. */
  readonly #searchHits = new Map<number, number>();
  /** Some of them have come with what is around them. */
  hasReplacedRows = false;

  /** Lines of the whole recording, as far as anybody has counted. */
  get recorded(): number {
    return Math.max(this.lines, (this.outline?.records ?? 0) + this.#linesSinceOutline);
  }

  /** When the last of it happened, ms. That a task is over is noticed and written some seconds after its end. */
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

  addLog(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = new Map<number, number>();
    for (const [id, info] of Object.entries(event.sources)) ids.set(Number(id), this.sourceId(info));
    const t0 = fromNs(event.t0);
    const done = this.folds.start(this.rows);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (!this.loaded.add(number)) continue;
      if (this.#searchHits.size > 0) this.#removeSearchHit(number);
      const id = ids.get(s[i]) ?? this.sourceId({ pod: "?", container: "?" });
      const time = t0 + dt[i] / 1e6;
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
    }
    done();
  }

  /** A page of lines, of this span or before everything: each source's keys stay between what is here of it. Answers how many are new. */
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
      // A page may reach over what is here into another span, which is left as it is.
      if (seam?.isOutside(time) || !this.loaded.add(record.seq)) continue;
      this.#removeSearchHit(record.seq);
      const id = this.sourceId({ ...record.source, pod: record.pod, container: record.container, run: record.run });
      running[id] = Math.max(running[id] ?? (floor[id] - time < SEAM_MS ? floor[id] : -Infinity), time);
      const stream = record.stream === "stdout" ? 1 : record.stream === "stderr" ? 2 : 0;
      const top = ceiling[id] ?? Infinity;
      const key = running[id] - top < SEAM_MS ? Math.min(running[id], top) : running[id];
      this.push(record.seq, time, seam?.placeKey(id, record.seq, time, key) ?? key, id, this.lineFlags(record.text, stream), record.text);
      this.folds.add(id * 3 + stream, this.rows - 1);
      this.sources[id].lines++;
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

  /** A block of which one part was here: rows belong to those before them, so it comes again as a whole. */
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

  /** Matches of a search, in places of which nothing else is here. */
  addSearchHits(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = new Map<number, number>();
    for (const [id, info] of Object.entries(event.sources)) ids.set(Number(id), this.sourceId(info));
    const t0 = fromNs(event.t0);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (this.loaded.has(number) || this.#searchHits.has(number)) continue;
      const time = t0 + dt[i] / 1e6;
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

  /** A line that was found alone is here with the others, or not needed any more. */
  #removeSearchHit(number: number): void {
    const row = this.#searchHits.get(number);
    if (row === undefined) return;
    this.#searchHits.delete(number);
    this.texts[row] = "";
    this.flags[row] |= GAP | HOLE;
    this.removedRows++;
    this.hasReplacedRows = true;
  }

  /** A row in place of lines that can be asked for. */
  addSpan(span: Omit<UnloadedSpan, "row">): UnloadedSpan {
    const made = { ...span, row: this.rows };
    this.spans.push(made);
    this.spans.sort((a, b) => a.from - b.from);
    const about = span.lines > 1 ? `, about ${groupDigits(span.lines)} lines` : "";
    const text = `Not loaded: {${Math.floor(span.low)}} to {${Math.floor(span.high)}}${about}`;
    // After the last line that is here, also one of the same time; the first of all where none is before.
    if (span.from === -Infinity) this.push(0, span.low, Math.min(span.low, span.to - 1), NO_SOURCE, NOTICE | HOLE, text);
    else this.push(2 ** 32 - 1, span.from, span.from, NO_SOURCE, NOTICE | HOLE, text);
    return made;
  }

  /** The row is no longer shown: both flags at once, so that a view made later leaves it out, too. */
  closeSpan(span: UnloadedSpan): void {
    const at = this.spans.indexOf(span);
    if (at !== -1) this.spans.splice(at, 1);
    this.flags[span.row] |= GAP | HOLE;
    this.removedRows++;
  }

  /** Lines that are not kept; they can come again. */
  dropRows(rows: number[]): void {
    for (const row of rows) {
      this.characters -= this.texts[row].length;
      this.texts[row] = "";
      this.sources[this.source[row]].lines--;
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
