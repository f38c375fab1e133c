/** Short names of containers: only the parts that differ between the pods of a task. */

import type { RunSummary, ContainerSummary } from "../protocol/update.ts";
import type { SourceLabel } from "./row.ts";

/** Generated ends of pod names: five letters without vowels, after a ReplicaSet's hash. */
const RANDOM_END = /(?:-[bcdf0-9]{8,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}$/;
const HASH = /(?<=^|-)[bcdf0-9]{8,10}-(?=[bcdfghjklmnpqrstvwxz2456789]{5}$)/;

/** Characters of a pod's name that fit into a row. */
export const POD_CHARS = 14;

function unique(names: string[]): boolean {
  return new Set(names).size === names.length && !names.includes("");
}

/** Return pod names without their generated ends and without the task's name, as long as they stay different. */
export function shortPods(pods: string[], task: string): Map<string, string> {
  let short = pods;
  const stems = pods.map((pod) => pod.replace(RANDOM_END, ""));
  // Cut all names or none. A name may end like a generated one and become equal to another if it is cut.
  if (unique(stems) && pods.every((pod) => RANDOM_END.test(pod))) short = stems;
  const rest = short.map((name) => (name.startsWith(`${task}-`) ? name.slice(task.length + 1) : name));
  if (unique(rest)) short = rest;
  short = withoutShared(withoutHash(short));
  // A bare index says little, so `pod-0` is better than `0`.
  if (short.every((name) => /^\d+$/.test(name))) short = short.map((name) => `pod-${name}`);
  return new Map(pods.map((pod, i) => [pod, short[i]]));
}

/** Remove the hashes of ReplicaSets. They stay if one Deployment has several: then they distinguish old pods from new ones. */
function withoutHash(names: string[]): string[] {
  const plain = names.map((name) => name.replace(HASH, ""));
  const stems = (list: string[]): number => new Set(list.map((name) => name.replace(/-?[^-]+$/, ""))).size;
  return unique(plain) && stems(plain) === stems(names) ? plain : names;
}

/** Remove the words with which all names begin, if a name is too long for a row. */
function withoutShared(names: string[]): string[] {
  if (names.length < 2 || names.every(({ length }) => length <= POD_CHARS)) return names;
  const words = names.map((name) => name.split("-"));
  const least = Math.min(...words.map(({ length }) => length)) - 1;
  let shared = 0;
  while (shared < least && words.every((one) => one[shared] === words[0][shared])) shared++;
  return words.map((one) => one.slice(shared).join("-"));
}

/** Cut a long name in the middle, because names of pods differ at their ends. */
function cutMiddle(name: string): string {
  if (name.length <= POD_CHARS) return name;
  const [end] = name.match(/-[^-]{1,6}$/) ?? [name.slice(-5)];
  return `${name.slice(0, POD_CHARS - 1 - end.length)}…${end}`;
}

/** Shorten `worker-0` to `w-0`. */
function initials(name: string): string {
  return name.replace(/^([a-z])[a-z]+(?=-\d+$)/, "$1");
}

/** Return short names by pod. Pods of an indexed Job are named by their index. */
function shortNames(sources: ContainerSummary[]): Map<string, string> {
  const short = new Map<string, string>();
  for (const task of new Set(sources.map((source) => source.task))) {
    const mine = sources.filter((source) => source.task === task);
    const pods = [...new Set(mine.map(({ pod }) => pod))];
    for (const [pod, name] of shortPods(pods, task.replace(/^.*\//, ""))) short.set(pod, name);
    const indexes = new Map(mine.flatMap(({ pod, index }) => (index === null ? [] : [[pod, index] as const])));
    if (indexes.size < pods.length) continue;
    const taken = [...indexes.values()];
    for (const [pod, index] of indexes) {
      const again = taken.filter((other) => other === index).length > 1;
      short.set(pod, again ? `#${index} ${pod.slice(pod.lastIndexOf("-") + 1)}` : `#${index}`);
    }
  }
  return short;
}

/** The main containers of each pod. */
function mainsOf(sources: ContainerSummary[]): Map<string, Set<string>> {
  const mains = new Map<string, Set<string>>();
  for (const { pod, container, kind } of sources) if (kind === "main") mains.set(pod, (mains.get(pod) ?? new Set()).add(container));
  return mains;
}

export function sourceLabels(sources: ContainerSummary[], columns: readonly string[] = ["pod", "container"]): SourceLabel[] {
  const short = shortNames(sources);
  const brief = new Map([...short].map(([pod, name]) => [pod, initials(name)]));
  const fitting = new Map([...brief].map(([pod, name]) => [pod, cutMiddle(name)]));
  const names = [fitting, brief].find((map) => unique([...map.values()])) ?? short;
  const mains = mainsOf(sources);
  return sources.map(({ pod, container, kind, hue }) => {
    const several = kind !== "main" || (mains.get(pod)?.size ?? 0) > 1;
    const name = [columns.includes("pod") ? names.get(pod)! : "", columns.includes("container") && (several || !columns.includes("pod")) ? container : ""].filter(Boolean).join(" ");
    return { short: name, full: `${pod} · ${container}`, hue };
  });
}

/** One run of a container. */
export interface RunEntry extends RunSummary {
  name: string;
}

export interface SourceEntry {
  name: string;
  full: string;
  group: "" | "sidecars" | "init" | "ephemeral";
  hue: number;
  on: boolean;
  lines: number;
  restarts: number;
  exit: number | null;
  /** The termination message of its newest run. */
  endMessage: string;
  ended: boolean;
  waiting: boolean;
  keys: string[];
  nodes: string[];
  /** Time of its last line (ms); 0 if there is none. */
  lastLineAt: number;
  /** The runs of a container that was restarted. */
  runs: RunEntry[];
}

/** Return the rows of the list: one for each pod's main container; sidecars and init containers once, with the number of pods. */
export function sourceEntries(sources: ContainerSummary[]): SourceEntry[] {
  const short = shortNames(sources);
  const mains = mainsOf(sources);
  const result = new Map<string, SourceEntry & { pods: number; index: number }>();
  for (const source of sources) {
    const { key, task, pod, container, kind, hue, on, lines, runs, state, exit, node, lastLineAt, index } = source;
    const group = kind === "main" ? "" : kind === "sidecar" ? "sidecars" : kind === "init" ? "init" : "ephemeral";
    const id = kind === "main" ? key : `${task} ${kind} ${container}`;
    const name = kind === "main" ? `${short.get(pod)}${mains.get(pod)!.size > 1 ? ` ${container}` : ""}` : container;
    // Kubernetes' count: some runs may have ended before they could be read.
    const restarts = runs.at(-1)?.run ?? 0;
    const entry = result.get(id);
    if (entry === undefined) {
      result.set(id, { name, full: `${pod} ${container}`, group, hue, on, lines, restarts, exit, endMessage: runs.at(-1)?.endMessage ?? "", ended: state === "ended", waiting: state === "waiting", keys: [key], nodes: [node], lastLineAt, runs: runEntries(runs), pods: 1, index: index ?? Infinity });
      continue;
    }
    entry.keys.push(key);
    entry.pods++;
    entry.lines += lines;
    entry.restarts += restarts;
    entry.runs = [];
    entry.on ||= on;
    entry.nodes.push(node);
    entry.lastLineAt = Math.max(entry.lastLineAt, lastLineAt);
    entry.exit = Math.max(entry.exit ?? 0, exit ?? 0);
    entry.endMessage ||= runs.at(-1)?.endMessage ?? "";
    entry.ended &&= state === "ended";
    entry.waiting &&= state === "waiting";
    entry.full += `, ${pod} ${container}`;
  }
  const order = ["", "sidecars", "init", "ephemeral"];
  return [...result.values()]
    .toSorted((a, b) => order.indexOf(a.group) - order.indexOf(b.group) || (a.index === b.index ? 0 : a.index - b.index) || a.name.localeCompare(b.name, undefined, { numeric: true }))
    .map(({ pods, index: _index, ...entry }) => (pods > 1 ? { ...entry, name: `${entry.name} ×${pods}` } : entry));
}

/** Return the runs, numbered as in the query's `run`: the first is 0. */
function runEntries(runs: RunSummary[]): RunEntry[] {
  return runs.length < 2 ? [] : runs.map((one) => ({ ...one, name: `run ${one.run}` }));
}
