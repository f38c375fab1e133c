/** What a notice is on the time axis. */

import type { Mark } from "../../types/chart.ts";
import type { EndEvent, GapEvent, PageNotice, SourceInfo, StatusEvent } from "../../types/events.ts";
import { ERROR, rankOf } from "../parsing/level.ts";
import { endText, gapText, noticeText } from "./notice.ts";
import { fromNs } from "../parsing/time.ts";

type NoticeMark = Omit<Mark, "source"> & { source?: SourceInfo };

/** None where a notice is nothing that one looks for on the axis; `now` where it does not say when it was. */
export function noticeMark(notice: PageNotice, now: number): NoticeMark | undefined {
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
  const { notice: what, time, source, level, exit_code: exit } = notice as StatusEvent;
  if (what !== "started" && what !== "ended" && what !== "event") return undefined;
  const at = time ? fromNs(time) : now;
  const kind = what === "started" && (source?.run ?? 0) > 0 ? "restart" : what;
  // A sidecar is stopped by the signal (128 + SIGTERM) when its pod's work is done.
  const bad = what === "ended" && (exit ?? 0) !== 0 && !(source?.kind === "sidecar" && exit === 143) ? ERROR : 0;
  return { kind, time: at, to: at, text: noticeText(notice as StatusEvent), level: Math.max(rankOf(level ?? ""), bad), source };
}
