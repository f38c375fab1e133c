/**
 * One task's lines as they are in memory: a plain array of strings beside typed arrays, in the order of arrival.
 * (A byte arena or joined chunks measured slower or heavier; one object per line measured 1.3 times heavier.)
 */

import type { Mark } from "../../types/chart.ts";
import type { Complete, EndEvent, GapEvent, LogEvent, LogPage, PageNotice, SourceInfo, SourceKind, StatusEvent, TaskState } from "../../types/events.ts";
import type { Missing } from "../../types/summary.ts";
import { Folds, type Same } from "./folds.ts";
import { ERROR, levelOf, rankOf, WARNING } from "../parsing/level.ts";
import { markOf } from "./marks.ts";
import { endText, gapText, grouped, noticeText, stoppedText } from "./notice.ts";
import type { Outline } from "./outline.ts";
import { Phases } from "./phases.ts";
import { Ranges } from "./ranges.ts";
import { Seam, SEAM } from "./seam.ts";
import type { Span } from "./spans.ts";
import { fromIso, fromNs } from "../parsing/time.ts";
import { torn } from "./torn.ts";

export const LEVEL_BITS = 7;
export const NOTICE = 8;
export const GAP = 16;
/** Lines that are in the recording and not here, on demand. */
export const HOLE = 128;
export const NO_SOURCE = 0xffff;
const LAST = 8e15;
const STDOUT = 32;
const STDERR = 64;

export interface Source {
  pod: string;
  container: string;
  kind: SourceKind;
  run: number;
  /** That are here. */
  lines: number;
  /** Of the recording, where the server has counted: up to its outline, and those that came later. */
  told: number;
  since: number;
  firstKey: number;
  lastKey: number;
  state: "waiting" | "running" | "ended";
  exit: number | null;
  node: string;
  /** When it started and ended, ms; 0 where that is not known. */
  begun: number;
  ended: number;
  /** The completion index of its pod. */
  index: number | null;
}

function grown<T extends Float64Array | Float32Array | Uint32Array | Uint16Array | Uint8Array>(array: T, length: number): T {
  if (length <= array.length) return array;
  const bigger = new (array.constructor as new (length: number) => T)(Math.max(length, Math.ceil(array.length * 1.25)));
  bigger.set(array);
  return bigger;
}

export class TaskStore {
  readonly texts: string[] = [];
  /** Sort key: the running maximum of time within a source, so that a source always reads in its own order. */
  key = new Float64Array(1024);
  /** How far the key is ahead of the line's own time; as long as the last row of which it is, which is seldom. */
  lag = new Float32Array(0);
  seq = new Uint32Array(1024);
  source = new Uint16Array(1024);
  flags = new Uint8Array(1024);
  /** Which rows belong together. */
  folds = this.#foldsOf("");
  readonly hints = new Map<number, string>();
  readonly sources: Source[] = [];
  cursor = "";
  older: string | null | undefined;
  /** Where the stream began. */
  begins = Infinity;
  /** What the server counts, once the task has ended. */
  complete: Complete | null = null;
  outline: Outline | null = null;
  /** What is not here, by time. */
  readonly spans: Span[] = [];
  state: TaskState | "" = "";
  message = "";
  /** Why nothing is taken in at present. */
  stopped = "";
  ended = false;
  exit: number | null = null;
  /** Lines that are here, and characters of them. */
  lines = 0;
  characters = 0;
  /** Lines that came after those that the outline counts. */
  #since = 0;
  /** Rows whose lines have been dropped. */
  dropped = 0;
  readonly gaps: Missing[] = [];
  gapLines = 0;
  readonly phases = new Phases();
  /** What the notices say on the time axis, in the order of arrival. */
  readonly marks: Mark[] = [];
  newest = 0;
  newestLine = 0;
  readonly #ids = new Map<string, number>();
  /** Latest key per source of the recording: older lines of a run come as another source of the same name. */
  readonly #parts = new Map<number, number>();
  readonly #have = new Ranges();
  readonly #marked = new Set<number>();
  /** Lines that a search has found where nothing else is loaded, by number. */
  readonly #found = new Map<number, number>();
  /** Some of them have come with what is around them. */
  replaced = false;

  constructor(readonly task: string) {}

  get rows(): number {
    return this.texts.length;
  }

  /** Lines of the whole recording, as far as anybody has counted. */
  get recorded(): number {
    return Math.max(this.lines, (this.outline?.records ?? 0) + this.#since);
  }

  /** Key of the first line that is here. */
  get firstKey(): number {
    let first = Infinity;
    for (let row = 0; row < this.rows; row++) if (!(this.flags[row] & (NOTICE | GAP | HOLE)) && this.key[row] < first) first = this.key[row];
    return first;
  }

  /** When the last of it happened, ms. That a task is over is noticed and written some seconds after its end. */
  get last(): number {
    let last = this.ended ? Math.max(this.newestLine, this.outline?.last ?? 0) : this.newest;
    if (this.ended) for (const { kind, to } of this.marks) if (kind !== "end" && to > last) last = to;
    return last || this.newest;
  }

  survey(outline: Outline, notices: PageNotice[] = [], sources: (SourceInfo & { lines?: number })[] = []): void {
    this.outline = outline;
    for (const source of this.sources) source.since = 0;
    for (const { lines, ...info } of sources) {
      const source = this.sources[this.sourceId(info)];
      if (outline.whole && lines !== undefined) source.told = lines;
    }
    for (const notice of notices) {
      this.#mark(notice);
      if (notice.event !== "status") continue;
      this.phases.take(notice as StatusEvent);
      this.#tell(notice as StatusEvent);
    }
    this.#since = 0;
    for (let row = 0; row < this.rows; row++) {
      if (this.seq[row] <= outline.upto || this.flags[row] & (NOTICE | HOLE)) continue;
      this.#since++;
      this.sources[this.source[row]].since++;
    }
  }

  timeOf(row: number): number {
    return row < this.lag.length ? this.key[row] - this.lag[row] : this.key[row];
  }

  addLog(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = new Map<number, number>();
    for (const [id, info] of Object.entries(event.sources)) ids.set(Number(id), this.sourceId(info));
    const t0 = fromNs(event.t0);
    const done = this.folds.start(this.rows);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (!this.#have.add(number)) continue;
      if (this.#found.size > 0) this.#leave(number);
      const id = ids.get(s[i]) ?? this.sourceId({ pod: "?", container: "?" });
      const time = t0 + dt[i] / 1e6;
      const source = this.sources[id];
      const key = Math.max(time, this.#parts.get(s[i]) ?? 0);
      this.#parts.set(s[i], key);
      if (key > source.lastKey) source.lastKey = key;
      if (this.outline === null || number > this.outline.upto) {
        this.#since++;
        source.since++;
      }
      this.#push(number, time, key, id, this.#lineFlags(m[i], o?.[i] ?? 0), m[i]);
      this.folds.feed(id * 3 + (o?.[i] ?? 0), this.rows - 1);
      source.lines++;
    }
    done();
  }

  /** A page of lines, of this span or before everything: each source's keys stay between what is here of it. Answers how many are new. */
  addPage(page: LogPage, span?: Span): number {
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
      if (seam?.isBeyond(time) || !this.#have.add(record.seq)) continue;
      this.#leave(record.seq);
      const id = this.sourceId({ ...record.source, pod: record.pod, container: record.container, run: record.run });
      running[id] = Math.max(running[id] ?? (floor[id] - time < SEAM ? floor[id] : -Infinity), time);
      const stream = record.stream === "stdout" ? 1 : record.stream === "stderr" ? 2 : 0;
      const top = ceiling[id] ?? Infinity;
      const key = running[id] - top < SEAM ? Math.min(running[id], top) : running[id];
      this.#push(record.seq, time, seam?.between(id, record.seq, time, key) ?? key, id, this.#lineFlags(record.text, stream), record.text);
      this.folds.feed(id * 3 + stream, this.rows - 1);
      this.sources[id].lines++;
    }
    this.#mend(start);
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
  #mend(start: number): void {
    for (const rows of torn(this, start)) {
      const lines = rows.map((row) => ({ row, time: this.timeOf(row), text: this.texts[row], flags: this.flags[row] }));
      for (const { row, text } of lines) {
        this.characters -= text.length;
        this.texts[row] = "";
        this.flags[row] |= GAP | HOLE;
      }
      this.lines -= rows.length;
      this.dropped += rows.length;
      this.replaced = true;
      const stream = this.streamKey(rows[0]);
      this.folds.again((row) => this.isGone(row), [stream]);
      for (const { row, time, text, flags } of lines) {
        this.#push(this.seq[row], time, this.key[row], this.source[row], flags, text);
        this.folds.feed(stream, this.rows - 1);
      }
    }
  }

  /** Matches of a search, in places of which nothing else is here. */
  addFound(event: LogEvent): void {
    const { m, dt, s, o, q, seq } = event;
    const ids = new Map<number, number>();
    for (const [id, info] of Object.entries(event.sources)) ids.set(Number(id), this.sourceId(info));
    const t0 = fromNs(event.t0);
    for (let i = 0; i < m.length; i++) {
      const number = q === undefined ? seq + i : seq + q[i];
      if (this.#have.has(number) || this.#found.has(number)) continue;
      const time = t0 + dt[i] / 1e6;
      this.#found.set(number, this.rows);
      this.#push(number, time, time, ids.get(s[i])!, this.#lineFlags(m[i], o?.[i] ?? 0) | HOLE, m[i]);
      this.lines--;
      this.characters -= m[i].length;
    }
  }

  /** Whether a line has come, and not only been found. */
  isHere(seq: number): boolean {
    return this.#have.has(seq);
  }

  isFound(row: number): boolean {
    return (this.flags[row] & (HOLE | NOTICE | GAP)) === HOLE;
  }

  get found(): number[] {
    return [...this.#found.values()];
  }

  forgetFound(): void {
    for (const number of this.#found.keys()) this.#leave(number);
  }

  /** A line that was found alone is here with the others, or not needed any more. */
  #leave(number: number): void {
    const row = this.#found.get(number);
    if (row === undefined) return;
    this.#found.delete(number);
    this.texts[row] = "";
    this.flags[row] |= GAP | HOLE;
    this.dropped++;
    this.replaced = true;
  }

  /** A row in place of lines that can be asked for. */
  addSpan(span: Omit<Span, "row">): Span {
    const made = { ...span, row: this.rows };
    this.spans.push(made);
    this.spans.sort((a, b) => a.from - b.from);
    const about = span.lines > 1 ? `, about ${grouped(span.lines)} lines` : "";
    const text = `Not loaded: {${Math.floor(span.low)}} to {${Math.floor(span.high)}}${about}`;
    // After the last line that is here, also one of the same time; the first of all where none is before.
    if (span.from === -Infinity) this.#push(0, span.low, Math.min(span.low, span.to - 1), NO_SOURCE, NOTICE | HOLE, text);
    else this.#push(2 ** 32 - 1, span.from, span.from, NO_SOURCE, NOTICE | HOLE, text);
    return made;
  }

  /** The row is no longer shown: both flags at once, so that a view made later leaves it out, too. */
  closeSpan(span: Span): void {
    const at = this.spans.indexOf(span);
    if (at !== -1) this.spans.splice(at, 1);
    this.flags[span.row] |= GAP | HOLE;
    this.dropped++;
  }

  /** The key by which a row has its place: that of what it belongs to. */
  keyShown(row: number): number {
    return this.key[this.folds.rootOf(row)];
  }

  isGone(row: number): boolean {
    return (this.flags[row] & (GAP | HOLE)) === (GAP | HOLE);
  }

  /** Lines that are not kept; they can come again. */
  forget(rows: number[]): void {
    for (const row of rows) {
      this.characters -= this.texts[row].length;
      this.texts[row] = "";
      this.sources[this.source[row]].lines--;
      this.flags[row] |= GAP | HOLE;
    }
    this.#have.removeAll(Uint32Array.from(rows, (row) => this.seq[row]).toSorted());
    this.folds.forget((row) => this.isGone(row));
    this.lines -= rows.length;
    this.dropped += rows.length;
  }

  /** Rows that are gone leave the arrays, so row numbers change: answers the new ones by the old, -1 for those. */
  compact(): Int32Array {
    const moved = new Int32Array(this.rows).fill(-1);
    const hints = [...this.hints];
    if (this.lag.length > 0) this.lag = grown(this.lag, this.rows);
    const columns = this.lag.length > 0 ? [this.key, this.lag, this.seq, this.source, this.flags] : [this.key, this.seq, this.source, this.flags];
    let to = 0;
    for (let row = 0; row < moved.length; row++) {
      if (this.isGone(row)) continue;
      moved[row] = to;
      for (const column of columns) column[to] = column[row];
      this.texts[to++] = this.texts[row];
    }
    this.texts.length = to;
    this.folds.move(moved);
    this.hints.clear();
    for (const [row, hint] of hints) if (moved[row] >= 0) this.hints.set(moved[row], hint);
    for (const span of this.spans) span.row = moved[span.row];
    for (const [number, row] of this.#found) this.#found.set(number, moved[row]);
    this.dropped = 0;
    return moved;
  }

  #foldsOf(same: Same): Folds {
    return new Folds({ texts: this.texts, pod: (row) => this.sources[this.source[row]]?.pod ?? "", time: (row) => this.timeOf(row) }, same);
  }

  /** Equal lines are folded, or are not any more: what belongs together is found anew. */
  refold(same: Same): void {
    this.folds = this.#foldsOf(same);
    this.folds.reserve(this.key.length);
    const order: number[] = [];
    for (let row = 0; row < this.rows; row++) if (!(this.flags[row] & (NOTICE | HOLE))) order.push(row);
    const done = this.folds.start(0);
    for (const row of order.toSorted((a, b) => this.seq[a] - this.seq[b])) this.folds.feed(this.streamKey(row), row);
    done();
    this.folds.start(this.rows)();
    this.folds.settle();
    this.folds.touched.clear();
  }

  /** The rows that are here, in the order in which they are shown, those that belong together one after the other. */
  inOrder(): Uint32Array {
    const { folds, key, seq } = this;
    const compare = (a: number, b: number): number => {
      const up = folds.rootOf(a);
      const down = folds.rootOf(b);
      return key[up] - key[down] || seq[up] - seq[down] || up - down || a - b;
    };
    const order = new Uint32Array(this.rows);
    // Lines of one source come in order, and so do nearly all others: those that do not are sorted and put between them.
    const late: number[] = [];
    let count = 0;
    let before = -Infinity;
    for (let row = 0; row < this.rows; row++) {
      if (this.isGone(row) || this.isFound(row)) continue;
      const alone = folds.back[row] === 0;
      if ((alone && key[row] > before) || count === 0 || compare(order[count - 1], row) <= 0) {
        order[count++] = row;
        before = alone ? key[row] : Infinity;
      } else late.push(row);
    }
    late.sort(compare);
    let place = count + late.length - 1;
    for (let next = late.length - 1, last = count - 1; next >= 0; place--) order[place] = last >= 0 && compare(order[last], late[next]) > 0 ? order[last--] : late[next--];
    return order.subarray(0, count + late.length);
  }

  addStatus(event: StatusEvent, live = true): void {
    if (event.seq === undefined) {
      if (event.state) this.state = event.state;
      this.message = event.message ?? "";
      this.stopped = stoppedText(event);
      if (event.older !== undefined && this.older === undefined) {
        this.older = event.older;
        this.begins = event.from ? fromNs(event.from) : Infinity;
      }
      return;
    }
    this.phases.take(event);
    if (!this.#have.add(event.seq)) return;
    const id = event.source ? this.sourceId(event.source) : -1;
    if (live && event.state) this.state = event.state;
    const was = this.stopped;
    if (live && event.notice === "state") this.stopped = stoppedText(event);
    if (was && !this.stopped) this.#notice(event.seq, event.time ? fromNs(event.time) : this.newest, id, 0, "There is room again: recording goes on", false);
    if (event.notice === "state" && (event.message ?? "").toLowerCase() === event.state) return;
    if (live && event.notice === "waiting") this.message = event.message ?? event.reason ?? "";
    else if (live && event.notice === "started") this.message = "";
    this.#tell(event);
    if (event.hint) this.hints.set(this.rows, event.hint);
    this.#mark({ ...event, event: "status" });
    this.#notice(event.seq, event.time ? fromNs(event.time) : this.newest, id, stoppedText(event) ? ERROR : rankOf(event.level ?? ""), noticeText(event), event.notice === "ended");
  }

  /** What a notice says of a source, whether it comes in the stream, with a page or with the outline. */
  #tell({ notice, source: info, time, exit_code: exit, index }: StatusEvent): void {
    if (info === undefined || (notice !== "started" && notice !== "ended")) return;
    const source = this.sources[this.sourceId(info)];
    const at = time ? fromNs(time) : 0;
    if (notice === "started") [source.begun, source.index] = [at, index ?? null];
    else [source.state, source.exit, source.ended] = ["ended", exit ?? null, at];
  }

  addGap(event: GapEvent, counted = true): void {
    const seq = event.seq ?? -1;
    if (seq >= 0 && !this.#have.add(seq)) return;
    if (counted) this.gaps.push({ text: gapText(event), hint: event.hint ?? "" });
    this.gapLines += event.lines ?? 0;
    if (event.hint) this.hints.set(this.rows, event.hint);
    const at = event.from ? fromNs(event.from) : event.to ? fromNs(event.to) : this.newest;
    this.#mark({ ...event, event: "gap" });
    this.#notice(Math.max(seq, 0), at, event.source ? this.sourceId(event.source) : -1, GAP, gapText(event), true);
  }

  addEnd(event: EndEvent): void {
    this.ended = true;
    this.stopped = "";
    this.state = event.state ?? (event.exit_code === 0 ? "succeeded" : "failed");
    this.exit = event.exit_code ?? null;
    this.message = endText(event);
    for (const source of this.sources) if (source.state === "running") source.state = "ended";
    if (event.seq !== undefined && !this.#have.add(event.seq)) return;
    // Of a task whose lines are still to be asked for, the end stands after whatever comes.
    const time = Math.max(this.newest, event.time ? fromNs(event.time) : 0) || LAST;
    this.folds.start(this.rows)();
    if (time !== LAST) this.#mark({ ...event, state: this.state, event: "end" });
    this.#push(event.seq ?? (this.seq[this.rows - 1] ?? 0) + 1, time === LAST ? 0 : time, time, NO_SOURCE, NOTICE, this.message);
  }

  /** Once, whether it comes in the stream, with a page or with the outline. */
  #mark(notice: PageNotice): void {
    const { seq } = notice;
    if (seq !== undefined && this.#marked.has(seq)) return;
    const mark = markOf(notice, this.newest);
    if (mark === undefined) return;
    if (seq !== undefined) this.#marked.add(seq);
    this.marks.push({ ...mark, source: mark.source ? this.keyOf(mark.source) : "" });
  }

  /** A source as readers know it: a container of a pod, its runs together. */
  keyOf({ pod, container }: { pod: string; container: string }): string {
    return `${this.task}/${pod}/${container}`;
  }

  /** One run of it alone. */
  runKeyOf(source: { pod: string; container: string; run?: number }): string {
    return `${this.keyOf(source)}/${source.run ?? 0}`;
  }

  /** Notices of a source keep their place among its lines; those of the whole task stand at their time. */
  #notice(seq: number, time: number, id: number, flags: number, text: string, afterLines: boolean): void {
    this.folds.start(this.rows)();
    const source = this.sources[id];
    const key = source && afterLines ? Math.max(time, source.lastKey) : time;
    this.#push(seq, time, key, id < 0 ? NO_SOURCE : id, NOTICE | flags, text);
  }

  sourceId(info: Partial<SourceInfo> & { pod: string; container: string }): number {
    const name = `${info.pod}/${info.container}/${info.run ?? 0}`;
    let id = this.#ids.get(name);
    if (id === undefined) {
      id = this.sources.length;
      this.#ids.set(name, id);
      const kind = info.kind ?? this.sources.find((other) => other.container === info.container)?.kind ?? "main";
      const { pod, container, run = 0 } = info;
      this.sources.push({ pod, container, kind, run, lines: 0, told: 0, since: 0, firstKey: Infinity, lastKey: -Infinity, state: "running", exit: null, node: info.node ?? "", begun: 0, ended: 0, index: null });
    }
    return id;
  }

  #lineFlags(text: string, stream: number): number {
    return levelOf(text) | (stream === 1 ? STDOUT : stream === 2 ? STDERR : 0);
  }

  /** A traceback is an error whatever its lines say. */
  levelOf(row: number): number {
    const said = this.folds.heads.get(this.folds.headOf(row))?.said;
    return Math.max(this.flags[row] & LEVEL_BITS, said ? (said.kind === "nccl" ? WARNING : ERROR) : 0);
  }

  /** The lines of one stream of one source have the same. */
  streamKey(row: number): number {
    return this.source[row] * 3 + (this.flags[row] & STDERR ? 2 : this.flags[row] & STDOUT ? 1 : 0);
  }

  streamOf(row: number): string {
    return this.flags[row] & STDERR ? "stderr" : this.flags[row] & STDOUT ? "stdout" : "";
  }

  #push(seq: number, time: number, key: number, source: number, flags: number, text: string): void {
    const row = this.texts.length;
    if (row >= this.key.length) {
      this.key = grown(this.key, row + 1);
      this.seq = grown(this.seq, row + 1);
      this.source = grown(this.source, row + 1);
      this.flags = grown(this.flags, row + 1);
      this.folds.reserve(this.key.length);
    }
    this.texts.push(text);
    this.key[row] = key;
    if (key !== time) this.lag = grown(this.lag, row + 1);
    if (row < this.lag.length) this.lag[row] = key - time;
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
}
