/** What is told of a task beside its lines, each a row among them: states, starts and ends of sources, events, gaps, the end. */

import type { Mark } from "../../types/chart.ts";
import type { EndEvent, GapEvent, PageNotice, StatusEvent, TaskState } from "../../types/events.ts";
import type { Missing } from "../../types/summary.ts";
import { ERROR, rankOf } from "../parsing/level.ts";
import { fromNs } from "../parsing/time.ts";
import { GAP, NO_SOURCE, NOTICE } from "./flags.ts";
import { Lines } from "./lines.ts";
import { markOf } from "./marks.ts";
import { endText, gapText, noticeText, resumedText, stoppedText } from "./notice.ts";
import { Phases } from "./phases.ts";

const LAST = 8e15;

export class Told extends Lines {
  state: TaskState | "" = "";
  message = "";
  /** Kubernetes' word for the state. */
  reason = "";
  /** Why nothing is taken in at present. */
  stopped = "";
  /** The reason of that, as the server names it. */
  #obstacle = "";
  /** What may not be shown beside the lines, and which right would show it. */
  hidden: Record<string, string> = {};
  ended = false;
  exit: number | null = null;
  readonly gaps: Missing[] = [];
  gapLines = 0;
  readonly phases = new Phases();
  /** What the notices say on the time axis, in the order of arrival. */
  readonly marks: Mark[] = [];
  readonly #marked = new Set<number>();
  older: string | null | undefined;
  /** Where the stream began. */
  begins = Infinity;

  addStatus(event: StatusEvent, live = true): void {
    if (event.seq === undefined) {
      if (event.state) this.state = event.state;
      this.message = event.message ?? "";
      this.reason = event.reason ?? "";
      this.stopped = stoppedText(event);
      this.#obstacle = this.stopped && event.reason ? event.reason : "";
      this.hidden = event.hidden ?? {};
      if (event.older !== undefined && this.older === undefined) {
        this.older = event.older;
        this.begins = event.from ? fromNs(event.from) : Infinity;
      }
      return;
    }
    this.phases.take(event);
    if (!this.have.add(event.seq)) return;
    const id = event.source ? this.sourceId(event.source) : -1;
    if (live && event.state) [this.state, this.reason] = [event.state, event.reason ?? ""];
    const was = this.stopped;
    if (live && event.notice === "state") this.stopped = stoppedText(event);
    if (was && !this.stopped) this.#notice(event.seq, event.time ? fromNs(event.time) : this.newest, id, 0, resumedText(this.#obstacle), false);
    if (this.stopped !== was) this.#obstacle = this.stopped && event.reason ? event.reason : "";
    if (event.notice === "created") return this.tell(event); // its end says more
    if (event.notice === "state" && (event.message ?? "").toLowerCase() === event.state) {
      if (live) this.message = event.message ?? "";
      return;
    }
    if (live && (event.notice === "waiting" || (event.notice === "state" && !this.stopped))) this.message = event.message ?? event.reason ?? "";
    else if (live && event.notice === "started") this.message = "";
    this.tell(event);
    const hint = event.hint ?? event.termination_message;
    if (hint) this.hints.set(this.rows, hint);
    this.mark({ ...event, event: "status" });
    this.#notice(event.seq, event.time ? fromNs(event.time) : this.newest, id, stoppedText(event) ? ERROR : rankOf(event.level ?? ""), noticeText(event), event.notice === "ended");
  }

  addGap(event: GapEvent, counted = true): void {
    const seq = event.seq ?? -1;
    if (seq >= 0 && !this.have.add(seq)) return;
    if (counted) this.gaps.push({ text: gapText(event), hint: event.hint ?? "" });
    this.gapLines += event.lines ?? 0;
    if (event.hint) this.hints.set(this.rows, event.hint);
    const at = event.from ? fromNs(event.from) : event.to ? fromNs(event.to) : this.newest;
    this.mark({ ...event, event: "gap" });
    this.#notice(Math.max(seq, 0), at, event.source ? this.sourceId(event.source) : -1, GAP, gapText(event), true);
  }

  addEnd(event: EndEvent): void {
    this.ended = true;
    this.stopped = "";
    this.state = event.state ?? (event.exit_code === 0 ? "succeeded" : "failed");
    this.exit = event.exit_code ?? null;
    this.message = endText(event);
    for (const source of this.sources) if (source.state === "running") source.state = "ended";
    if (event.seq !== undefined && !this.have.add(event.seq)) return;
    // Of a task whose lines are still to be asked for, the end stands after whatever comes.
    const time = Math.max(this.newest, event.time ? fromNs(event.time) : 0) || LAST;
    this.folds.start(this.rows)();
    if (time !== LAST) this.mark({ ...event, state: this.state, event: "end" });
    this.push(event.seq ?? (this.seq[this.rows - 1] ?? 0) + 1, time === LAST ? 0 : time, time, NO_SOURCE, NOTICE, this.message);
  }

  /** What a notice says of a source, whether it comes in the stream, with a page or with the outline. */
  protected tell({ notice, source: info, time, exit_code: exit, index, termination_message: why }: StatusEvent): void {
    if (info === undefined || (notice !== "created" && notice !== "started" && notice !== "ended")) return;
    const source = this.sources[this.sourceId(info)];
    const at = time ? fromNs(time) : 0;
    if (notice === "ended") [source.state, source.exit, source.ended, source.why] = ["ended", exit ?? null, at, why ?? ""];
    else [source.begun, source.index] = [notice === "started" ? at : 0, index ?? null];
  }

  /** Once, whether it comes in the stream, with a page or with the outline. */
  protected mark(notice: PageNotice): void {
    const { seq } = notice;
    if (seq !== undefined && this.#marked.has(seq)) return;
    const mark = markOf(notice, this.newest);
    if (mark === undefined) return;
    if (seq !== undefined) this.#marked.add(seq);
    this.marks.push({ ...mark, source: mark.source ? this.keyOf(mark.source) : "" });
  }

  /** Notices of a source keep their place among its lines; those of the whole task stand at their time. */
  #notice(seq: number, time: number, id: number, flags: number, text: string, afterLines: boolean): void {
    this.folds.start(this.rows)();
    const source = this.sources[id];
    const key = source && afterLines ? Math.max(time, source.lastKey) : time;
    this.push(seq, time, key, id < 0 ? NO_SOURCE : id, NOTICE | flags, text);
  }
}
