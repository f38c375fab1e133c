/** What a notice says, in words. */

import type { EndEvent, GapEvent, SourceInfo, StatusEvent } from "../../types/events.ts";
import { fromNs } from "../parsing/time.ts";
import { groupDigits } from "../../view/format.ts";

/** Characters of a termination message in a row; all of it opens below. */
const MAX_MESSAGE_CHARS = 500;
/** Reasons for an end before anything ran, as in cluster/pods.py. */
const NOT_STARTED = new Set(["StartError", "ContainerCannotRun"]);

function sourceName(source: SourceInfo | undefined): string {
  return source ? `${source.pod} · ${source.container}` : "";
}

function exitText(code: number | null | undefined, reason: string | null | undefined): string {
  return [code === null || code === undefined ? "" : `exit ${code}`, reason && reason !== "Completed" ? reason : ""].filter(Boolean).join(", ");
}

/** Why nothing is taken in, by reason, and what is said when it is over. */
const OBSTACLES: Record<string, string> = {
  StoreFull: "There is room again: recording goes on",
  NotAllowed: "The log may be read now",
  NoCluster: "The cluster can be asked again",
  ClusterError: "The cluster can be asked again",
  ClusterUnreachable: "The cluster can be asked again",
};

/** Nothing is taken in at present: why. */
export function stoppedText({ reason, message }: StatusEvent): string {
  return reason && reason in OBSTACLES ? (message ?? reason) : "";
}

export function resumedText(reason: string): string {
  return OBSTACLES[reason];
}

export function noticeText(event: StatusEvent): string {
  const name = sourceName(event.source);
  const run = event.source?.run ? ` again (run ${event.source.run})` : "";
  const said = event.message ?? event.reason ?? "";
  if (stoppedText(event)) return said;
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
      return name ? `${name} waiting: ${event.reason ?? said}` : said;
    default:
      return [said.startsWith(name) ? "" : name, event.reason && !said.includes(event.reason) ? `${event.reason}: ${said}` : said || (event.state ?? "")].filter(Boolean).join(" · ");
  }
}

/** A gap's `from` and `to` are written as times so that the view can show them in the reader's zone. */
export function gapText(event: GapEvent): string {
  const many = event.lines === 1 ? "1 line" : event.lines ? `${groupDigits(event.lines)} lines` : "Lines";
  const verb = event.lines === 1 ? "is" : "are";
  const of = event.source ? ` of ${event.source.pod}${event.source.container ? ` · ${event.source.container}` : ""}` : "";
  const span = event.from && event.to ? `, {${fromNs(event.from)}} to {${fromNs(event.to)}}` : "";
  return `${many}${of} ${verb} missing${span}: ${event.reason ?? "reason unknown"}`;
}

export function endText(event: EndEvent): string {
  if (event.message) return event.message;
  return event.state === "failed" ? `Job failed exit ${event.exit_code ?? "?"}` : `Job complete exit ${event.exit_code ?? 0}`;
}
