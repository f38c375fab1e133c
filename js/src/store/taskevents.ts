/**
 * The state of a task and its notices: starts and ends of sources, Kubernetes events, gaps, the end of the task. Most notices are
 * rows among the lines.
 */

import type { EndEvent, GapEvent, PageNotice, SourceInfo, StatusEvent, TaskState } from "../protocol/events.ts";
import type { GapSummary, Mark, PodPhases } from "../protocol/update.ts";
import { groupDigits } from "../text/format.ts";
import { ERROR, rankOf } from "../text/level.ts";
import { roleName } from "../text/sources.ts";
import { fromNs } from "../text/time.ts";
import { FAILED, GAP, LineTable, NO_SOURCE, NOTICE } from "./lines.ts";

/** Maximum number of characters of a termination message in a row. The whole text is shown when the row is opened. */
const MAX_MESSAGE_CHARS = 500;
/** Reasons of a container that ended before its program started; see cluster/pods.py. */
const NOT_STARTED = new Set(["StartError", "ContainerCannotRun"]);

/** Return the name of a container. If the lines show its role and rank, those come first: `worker-3 (train-x7k2p) · main`. */
function sourceName({ pod, container, ...source }: SourceInfo): string {
  const role = roleName(source);
  return [role ? `${role} (${pod})` : pod, container].filter(Boolean).join(" · ");
}

function exitText(code: number | null | undefined, reason: string | null | undefined): string {
  return [code === null || code === undefined ? "" : `exit ${code}`, reason && reason !== "Completed" ? reason : ""].filter(Boolean).join(", ");
}

/** Reasons why the recorder cannot record, each with the text to show when it can again. */
const OBSTACLES: Record<string, string> = {
  StoreFull: "There is room again: recording goes on",
  NotAllowed: "The log may be read now",
  NoCluster: "The cluster can be asked again",
  ClusterError: "The cluster can be asked again",
  ClusterUnreachable: "The cluster can be asked again",
};

/** Return why the recorder cannot record at present; "" if it can. */
function stoppedText({ reason, message }: StatusEvent): string {
  return reason && reason in OBSTACLES ? (message ?? reason) : "";
}

function resumedText(reason: string): string {
  return OBSTACLES[reason];
}

function noticeText(event: StatusEvent): string {
  const name = event.source ? sourceName(event.source) : "";
  const run = event.source?.run ? ` again (run ${event.source.run})` : "";
  const message = event.message ?? event.reason ?? "";
  if (stoppedText(event)) return message;
  switch (event.notice) {
    case "started":
      return `${name} started${run}`;
    case "ended": {
      const exit = exitText(event.exit_code, event.reason);
      const why = (event.termination_message ?? "").replace(/\s+/g, " ").trim();
      const verb = NOT_STARTED.has(event.reason ?? "") ? "could not be started" : "ended";
      return `${name} ${verb}${exit ? `: ${exit}` : ""}${why ? `: ${why.length > MAX_MESSAGE_CHARS ? `${why.slice(0, MAX_MESSAGE_CHARS - 1)}…` : why}` : ""}`;
    }
    case "waiting":
      return name ? `${name} waiting: ${event.reason ?? message}` : message;
    default:
      return [message.startsWith(event.source?.pod ?? "") ? "" : name, event.reason && !message.includes(event.reason) ? `${event.reason}: ${message}` : message || (event.state ?? "")].filter(Boolean).join(" · ");
  }
}

/** Return a gap as text. Its times are written as `{ms}`, so that the view can show them in the user's zone. */
export function gapText(event: GapEvent): string {
  const many = event.lines === 1 ? "1 line" : event.lines ? `${groupDigits(event.lines)} lines` : "Lines";
  const verb = event.lines === 1 ? "is" : "are";
  const of = event.source ? ` of ${sourceName(event.source)}` : "";
  const span = event.from && event.to ? `, {${fromNs(event.from)}} to {${fromNs(event.to)}}` : "";
  return `${many}${of} ${verb} missing${span}: ${event.reason ?? "reason unknown"}`;
}

function endText(event: EndEvent): string {
  if (event.message) return event.message;
  return event.state === "failed" ? `Job failed exit ${event.exit_code ?? "?"}` : `Job complete exit ${event.exit_code ?? 0}`;
}

/** Return whether a notice is the end of a container that has failed. */
function hasFailed({ notice, source, exit_code: exit }: StatusEvent): boolean {
  // A sidecar is stopped with SIGTERM (exit 128 + 15) when its pod's work is done.
  return notice === "ended" && (exit ?? 0) !== 0 && !(source?.kind === "sidecar" && exit === 143);
}

type NoticeMark = Omit<Mark, "source"> & { source?: SourceInfo };

/** Return the mark of a notice on the time axis; undefined if its kind has none. A notice without a time is marked at `now`. */
function noticeMark(notice: PageNotice, now: number): NoticeMark | undefined {
  if (notice.event === "end") {
    const { time, state, exit_code: exit } = notice as EndEvent;
    const at = time ? fromNs(time) : now;
    return { kind: "end", time: at, to: at, text: endText(notice as EndEvent), level: state === "succeeded" || exit === 0 ? 0 : ERROR };
  }
  if (notice.event === "gap") {
    const gap = notice as GapEvent;
    const at = gap.from ? fromNs(gap.from) : gap.to ? fromNs(gap.to) : now;
    return { kind: "gap", time: at, to: gap.to ? fromNs(gap.to) : at, text: gapText(gap), level: ERROR, source: gap.source };
  }
  const { notice: what, time, source, level } = notice as StatusEvent;
  if (what !== "started" && what !== "ended" && what !== "event") return undefined;
  const at = time ? fromNs(time) : now;
  const kind = what === "started" && (source?.run ?? 0) > 0 ? "restart" : what;
  const bad = hasFailed(notice as StatusEvent) ? ERROR : 0;
  return { kind, time: at, to: at, text: noticeText(notice as StatusEvent), level: Math.max(rankOf(level ?? ""), bad), source };
}

class PodTimeline {
  readonly pods = new Map<string, PodPhases>();

  readonly #seen = new Set<number>();

  add({ seq, notice, source, time, exit_code: exit, created, scheduled, inits }: StatusEvent): void {
    if (source === undefined || time === undefined || (notice !== "created" && notice !== "started" && notice !== "ended")) return;
    // The outline and the stream report the same notices.
    if (seq === undefined || this.#seen.has(seq)) return;
    this.#seen.add(seq);
    const at = fromNs(time);
    let pod = this.pods.get(source.pod);
    if (pod === undefined) this.pods.set(source.pod, (pod = { pod: source.pod, created: 0, scheduled: 0, init: 0, initEnd: 0, inits: 0, initsDone: 0, main: 0, isLate: false, end: 0, exit: null }));
    if (created) pod.created = fromNs(created);
    if (scheduled) pod.scheduled = fromNs(scheduled);
    if (inits) pod.inits = inits;
    if (notice === "created") return; // the container could not be started
    const first = (one: number): number => (one === 0 ? at : Math.min(one, at));
    if (source.kind === "init") {
      if (notice === "started") pod.init = first(pod.init);
      else {
        pod.initsDone++;
        pod.initEnd = Math.max(pod.initEnd, at);
      }
    } else if ((source.kind ?? "main") === "main") {
      if (notice === "started") {
        if (pod.main === 0 || at < pod.main) pod.isLate = (source.run ?? 0) > 0;
        pod.main = first(pod.main);
        // The container runs again, so the pod has not ended.
        if (at >= pod.end) [pod.end, pod.exit] = [0, null];
      } else {
        pod.end = Math.max(pod.end, at);
        pod.exit = Math.max(pod.exit ?? 0, exit ?? 0);
      }
    }
  }
}

const AFTER_ALL_LINES = 8e15;

export class TaskEvents extends LineTable {
  state: TaskState | "" = "";
  message = "";
  /** Kubernetes' reason for the state. */
  reason = "";
  /** Why the recorder cannot record at present; "" if it can. */
  stopped = "";
  /** The server's word for that reason, a key of `OBSTACLES`. */
  #obstacle = "";
  /** What this user may not see beside the lines, each with the permission that would show it. */
  hidden: Record<string, string> = {};
  ended = false;
  exit: number | null = null;
  readonly gaps: GapSummary[] = [];
  gapLines = 0;
  readonly timeline = new PodTimeline();
  /** Marks of notices on the time axis, in the order of arrival. */
  readonly marks: Mark[] = [];
  readonly #markedSeqs = new Set<number>();
  older: string | null | undefined;
  /** Start of the stream (ms); Infinity if the server names none. */
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
    this.timeline.add(event);
    if (!this.loaded.add(event.seq)) return;
    const id = event.source ? this.sourceId(event.source) : -1;
    if (live && event.state) [this.state, this.reason] = [event.state, event.reason ?? ""];
    const before = this.stopped;
    if (live && event.notice === "state") this.stopped = stoppedText(event);
    if (before && !this.stopped) this.#addNotice(event.seq, event.time ? fromNs(event.time) : this.newest, id, 0, resumedText(this.#obstacle), false);
    if (this.stopped !== before) this.#obstacle = this.stopped && event.reason ? event.reason : "";
    if (event.notice === "created") return this.updateSource(event); // no row: the notice of the container's end says more
    if (event.notice === "state" && (event.message ?? "").toLowerCase() === event.state) {
      if (live) this.message = event.message ?? "";
      return;
    }
    if (live && (event.notice === "waiting" || (event.notice === "state" && !this.stopped))) this.message = event.message ?? event.reason ?? "";
    else if (live && event.notice === "started") this.message = "";
    this.updateSource(event);
    const hint = event.hint ?? event.termination_message;
    if (hint) this.hints.set(this.rows, hint);
    this.addMark({ ...event, event: "status" });
    const level = stoppedText(event) ? ERROR : rankOf(event.level ?? "");
    this.#addNotice(event.seq, event.time ? fromNs(event.time) : this.newest, id, level | (hasFailed(event) ? FAILED : 0), noticeText(event), event.notice === "ended");
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
    this.stopped = "";
    this.state = event.state ?? (event.exit_code === 0 ? "succeeded" : "failed");
    this.exit = event.exit_code ?? null;
    this.message = endText(event);
    for (const source of this.sources) if (source.state === "running") source.state = "ended";
    if (event.seq !== undefined && !this.loaded.add(event.seq)) return;
    // If the end has no time and no line is loaded yet, sort the row of the end after all lines.
    const time = Math.max(this.newest, event.time ? fromNs(event.time) : 0) || AFTER_ALL_LINES;
    this.folds.start(this.rows)();
    if (time !== AFTER_ALL_LINES) this.addMark({ ...event, state: this.state, event: "end" });
    this.push(event.seq ?? (this.seq[this.rows - 1] ?? 0) + 1, time === AFTER_ALL_LINES ? 0 : time, time, NO_SOURCE, NOTICE | (this.state === "succeeded" || this.exit === 0 ? 0 : FAILED), this.message);
  }

  /** Update a source from a notice of the stream, of a page or of the outline. */
  protected updateSource({ notice, source: info, time, exit_code: exit, index, main, termination_message: why }: StatusEvent): void {
    if (info === undefined || (notice !== "created" && notice !== "started" && notice !== "ended")) return;
    const source = this.sources[this.sourceId(info)];
    const at = time ? fromNs(time) : 0;
    if (notice === "ended") [source.state, source.exit, source.endedAt, source.endMessage] = ["ended", exit ?? null, at, why ?? ""];
    else [source.startedAt, source.index, source.mainContainer] = [notice === "started" ? at : 0, index ?? null, main ?? ""];
  }

  /** Add the mark of a notice, once. The same notice can come in the stream, with a page and with the outline. */
  protected addMark(notice: PageNotice): void {
    const { seq } = notice;
    if (seq !== undefined && this.#markedSeqs.has(seq)) return;
    const mark = noticeMark(notice, this.newest);
    if (mark === undefined) return;
    if (seq !== undefined) this.#markedSeqs.add(seq);
    this.marks.push({ ...mark, source: mark.source ? this.containerKey(mark.source) : "" });
  }

  /** Add the row of a notice. With `afterLines` it comes after the existing lines of its source; otherwise its time alone places it. */
  #addNotice(seq: number, time: number, id: number, flags: number, text: string, afterLines: boolean): void {
    this.folds.start(this.rows)();
    const source = this.sources[id];
    const key = source && afterLines ? Math.max(time, source.lastKey) : time;
    this.push(seq, time, key, id < 0 ? NO_SOURCE : id, NOTICE | flags, text);
  }
}
