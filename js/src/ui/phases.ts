/** The phases of a task as a strip, each with its length. Of several pods it shows the typical length; the title names the slowest pod. */

import type { PodPhases, TaskSummary } from "../protocol/update.ts";
import { formatPhase, groupDigits, roundAge, taskParts } from "../text/format.ts";
import { h, setAttr, setClass, setText } from "./dom.ts";

export interface Phase {
  name: string;
  /** Length of the phase (ms); null while it lasts. */
  length: number | null;
  now: boolean;
  /** The task runs, but has a problem. */
  hasProblem?: boolean;
  /** Lengths by pod. */
  title: string;
}

type Span = [from: number, to: number];

const SPANS: [name: (pods: PodPhases[]) => string, span: (pod: PodPhases) => Span][] = [
  [() => "Scheduled", ({ created, scheduled }) => [created, scheduled]],
  [() => "Pulled", ({ created, scheduled, init, main, isLate }) => (isLate && init === 0 ? [0, 0] : [scheduled || created, init || main])],
  [(pods) => `Init ${Math.min(...pods.map(({ initsDone }) => initsDone))}/${Math.max(...pods.map(({ inits, initsDone }) => Math.max(inits, initsDone, 1)))}`, ({ init, initEnd }) => [init, initEnd]],
];

function median(sorted: number[]): number {
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

/** Return whether the task is a log file that `cortex.open` shows. A file has no exit status. */
export function isLocalFile({ task, ended, exit }: TaskSummary): boolean {
  return ended && exit === null && taskParts(task).namespace === "file";
}

function describeTask(task: TaskSummary): string {
  if (isLocalFile(task)) return `File · ${groupDigits(task.complete?.records ?? task.lines)} lines`;
  if (task.ended) return `${task.state === "succeeded" ? "Complete" : "Failed"}${task.exit === null ? "" : ` · exit ${task.exit}`}`;
  return { pending: "Pending", running: "Running", succeeded: "Complete", failed: "Failed", gone: "Gone", "": "" }[task.state];
}

/** Return Kubernetes' reason for a problem of a running task, such as `CrashLoopBackOff`; "" if there is none. */
export function runningProblem({ ended, state, message, reason }: TaskSummary): string {
  return ended || state !== "running" || message === "" || message.startsWith("Running") ? "" : reason;
}

/** Return the phases up to now, including the current one. */
export function phasesOf(task: TaskSummary, now: number): Phase[] {
  const pods = task.pods ?? [];
  const result: Phase[] = [];
  for (const [name, span] of SPANS) {
    const known = pods.map((pod) => ({ pod, span: span(pod) })).filter(({ span: [from, to] }) => from > 0 && to >= from);
    if (known.length === 0) continue;
    const lengths = known.map(({ pod: { pod }, span: [from, to] }): [string, number] => [pod, to - from]).toSorted((a, b) => a[1] - b[1]);
    const typical = median(lengths.map(([, length]) => length));
    const [slowest, longest] = lengths.at(-1)!;
    const title = lengths.length > 1 ? `${formatPhase(typical)} typically; the slowest of ${lengths.length} pods: ${slowest}, ${formatPhase(longest)}` : `${slowest}: ${formatPhase(longest)}`;
    result.push({ name: name(known.map(({ pod }) => pod)), length: typical, now: false, title });
  }
  const started = pods.map(({ main }) => main).filter((main) => main > 0);
  const state = describeTask(task);
  if (started.length > 0) {
    const begin = Math.min(...started);
    const ends = pods.map(({ end }) => end).filter((end) => end > 0);
    const end = task.ended && ends.length > 0 ? Math.max(...ends) : now;
    const running = pods.filter((pod) => pod.main > 0 && pod.end === 0).length;
    const title = task.ended || pods.length < 2 ? "" : `${running} of ${pods.length} pods`;
    const trouble = runningProblem(task);
    const name = task.ended ? "Ran" : trouble || "Running";
    result.push({ name, length: end > begin && !trouble ? end - begin : null, now: !task.ended && state === "Running", hasProblem: trouble !== "", title: trouble ? task.message : title });
  }
  const trouble = runningProblem(task);
  if (result.at(-1)?.now !== true && state !== "") result.push({ name: trouble || state, length: null, now: true, hasProblem: trouble !== "", title: task.message });
  return result;
}

/** Draw the phases. Only elements that differ are changed. */
export function showPhases(strip: HTMLElement, phases: Phase[]): void {
  const elements = Array.from(strip.children) as HTMLElement[];
  if (elements.length !== phases.length || phases.some(({ now }, i) => now !== elements[i].classList.contains("cl-now"))) {
    elements.length = 0;
    for (const { now } of phases) elements.push(h("span", { class: now ? "cl-ph cl-now" : "cl-ph" }, h(now ? "b" : "span"), h("small")));
    // If not all fit, show the current phase, and as many as fit of those before it.
    for (const [i, one] of elements.entries()) one.style.order = String(-i);
    strip.replaceChildren(...elements);
  }
  for (const [i, { name, length, now, hasProblem, title }] of phases.entries()) {
    setClass(elements[i], "cl-gaps", hasProblem === true);
    const [what, long] = elements[i].children as unknown as HTMLElement[];
    setAttr(elements[i], "title", title);
    setText(what, name);
    setText(long, length === null ? "" : ` ${formatPhase(now ? roundAge(length) : length)}`);
  }
}
