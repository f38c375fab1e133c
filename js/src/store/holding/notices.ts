/** What is told of a task beside its lines, each a row among them: states, starts and ends of sources, events, gaps, the end. */

import type { Mark } from "../../types/chart.ts";
import type { EndEvent, GapEvent, PageNotice, StatusEvent, TaskState } from "../../types/events.ts";
import type { GapSummary } from "../../types/summary.ts";
import { ERROR, rankOf } from "../parsing/level.ts";
import { fromNs } from "../parsing/time.ts";
import { GAP, NO_SOURCE, NOTICE } from "./flags.ts";
import { LineTable } from "./lines.ts";
import { noticeMark } from "./marks.ts";
import { endText, gapText, noticeText, resumedText, stoppedText } from "./notice.ts";
import { PodTimeline } from "./phases.ts";

const AFTER_ALL_LINES = 8e15;

export class TaskEvents extends LineTable {
  state: TaskState | "" = "";
  message = "";
  /** Kubernetes' word for the state. */
  reason = "";
  /** Why nothing is taken in at present. */
  stoppedReason = "";
  /** The reason of that, as the server names it. */
  #obstacle = "";
  /** What may not be shown beside the lines, and which right would show it. */
  hidden: Record<string, string> = {};
  ended = false;
  exit: number | null = null;
  readonly gaps: GapSummary[] = [];
  gapLines = 0;
  readonly timeline = new PodTimeline();
  /** What the notices say on the time axis, in the order of arrival. */
  readonly marks: Mark[] = [];
  readonly #markedSeqs = new Set<number>();
  older: string | null | undefined;
  /** Where the stream began. */
  begins = Infinity;

  addStatus(event: StatusEvent, live = true): void {
    if (event.seq === undefined) {
      if (event.state) this.state = event.state;
      this.message = event.message ?? "";
      this.reason = event.reason ?? "";
      this.stoppedReason = stoppedText(event);
      this.#obstacle = this.stoppedReason && event.reason ? event.reason : "";
      this.hidden = event.hidden ?? {};
      if (event.older !== undefined && this.older === undefined) {
        this.older = event.older;
        this.begins = event.from ? fromNs(event.from) : Infinity;
      }
      return;
    }
    this.timeline.add(event);
    if (!this.loaded.add(event.seq)) return;
    const id = event.source ? this.sourceId(event.source) : -1;
    if (live && event.state) [this.state, this.reason] = [event.state, event.reason ?? ""];
    const was = this.stoppedReason;
    if (live && event.notice === "state") this.stoppedReason = stoppedText(event);
    if (was && !this.stoppedReason) this.#addNotice(event.seq, event.time ? fromNs(event.time) : this.newest, id, 0, resumedText(this.#obstacle), false);
    if (this.stoppedReason !== was) this.#obstacle = this.stoppedReason && event.reason ? event.reason : "";
    if (event.notice === "created") return this.updateSource(event); // its end says more
    if (event.notice === "state" && (event.message ?? "").toLowerCase() === event.state) {
      if (live) this.message = event.message ?? "";
      return;
    }
    if (live && (event.notice === "waiting" || (event.notice === "state" && !this.stoppedReason))) this.message = event.message ?? event.reason ?? "";
    else if (live && event.notice === "started") this.message = "";
    this.updateSource(event);
    const hint = event.hint ?? event.termination_message;
    if (hint) this.hints.set(this.rows, hint);
    this.addMark({ ...event, event: "status" });
    this.#addNotice(event.seq, event.time ? fromNs(event.time) : this.newest, id, stoppedText(event) ? ERROR : rankOf(event.level ?? ""), noticeText(event), event.notice === "ended");
  }

  addGap(event: GapEvent, counted = true): void {
    const seq = event.seq ?? -1;
    if (seq >= 0 && !this.loaded.add(seq)) return;
    if (counted) this.gaps.push({ text: gapText(event), hint: event.hint ?? "" });
    this.gapLines += event.lines ?? 0;
    if (event.hint) this.hints.set(this.rows, event.hint);
    const at = event.from ? fromNs(event.from) : event.to ? fromNs(event.to) : this.newest;
    this.addMark({ ...event, event: "gap" });
    this.#addNotice(Math.max(seq, 0), at, event.source ? this.sourceId(event.source) : -1, GAP, gapText(event), true);
  }

  addEnd(event: EndEvent): void {
    this.ended = true;
    this.stoppedReason = "";
    this.state = event.state ?? (event.exit_code === 0 ? "succeeded" : "failed");
    this.exit = event.exit_code ?? null;
    this.message = endText(event);
    for (const source of this.sources) if (source.state === "running") source.state = "ended";
    if (event.seq !== undefined && !this.loaded.add(event.seq)) return;
    // Of a task whose lines are still to be asked for, the end stands after whatever comes.
    const time = Math.max(this.newest, event.time ? fromNs(event.time) : 0) || AFTER_ALL_LINES;
    this.folds.start(this.rows)();
    if (time !== AFTER_ALL_LINES) this.addMark({ ...event, state: this.state, event: "end" });
    this.push(event.seq ?? (this.seq[this.rows - 1] ?? 0) + 1, time === AFTER_ALL_LINES ? 0 : time, time, NO_SOURCE, NOTICE, this.message);
  }

  /** What a notice says of a source, whether it comes in the stream, with a page or with the outline. */
  protected updateSource({ notice, source: info, time, exit_code: exit, index, termination_message: why }: StatusEvent): void {
    if (info === undefined || (notice !== "created" && notice !== "started" && notice !== "ended")) return;
    const source = this.sources[this.sourceId(info)];
    const at = time ? fromNs(time) : 0;
    if (notice === "ended") [source.state, source.exit, source.endedAt, source.endMessage] = ["ended", exit ?? null, at, why ?? ""];
    else [source.startedAt, source.index] = [notice === "started" ? at : 0, index ?? null];
  }

  /** Once, whether it comes in the stream, with a page or with the outline. */
  protected addMark(notice: PageNotice): void {
    const { seq } = notice;
    if (seq !== undefined && this.#markedSeqs.has(seq)) return;
    const mark = noticeMark(notice, this.newest);
    if (mark === undefined) return;
    if (seq !== undefined) this.#markedSeqs.add(seq);
    this.marks.push({ ...mark, source: mark.source ? this.sourceKey(mark.source) : "" });
  }

  /** Notices of a source keep their place among its lines; those of the whole task stand at their time. */
  #addNotice(seq: number, time: number, id: number, flags: number, text: string, afterLines: boolean): void {
    this.folds.start(this.rows)();
    const source = this.sources[id];
    const key = source && afterLines ? Math.max(time, source.lastKey) : time;
    this.push(seq, time, key, id < 0 ? NO_SOURCE : id, NOTICE | flags, text);
  }
}
