/** Short names of containers: only the parts that differ between the pods of a task. */

import type { RunSummary, ContainerSummary } from "../protocol/update.ts";
import { roleName } from "../text/sources.ts";
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

/** Remove the words that all names begin with, if a name is too long for a row. */
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

function countEach(names: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Return short names by pod. Pods with a role are named by it, pods of an indexed Job by their index. */
function shortNames(sources: ContainerSummary[]): Map<string, string> {
  const short = new Map<string, string>();
  for (const task of new Set(sources.map((source) => source.task))) {
    const mine = sources.filter((source) => source.task === task);
    const pods = [...new Set(mine.map(({ pod }) => pod))];
    for (const [pod, name] of shortPods(pods, task.replace(/^.*\//, ""))) short.set(pod, name);
    const indexes = new Map(mine.flatMap(({ pod, index }) => (index === null ? [] : [[pod, [`#${index}`, ""]] as const])));
    const named = new Map<string, readonly [name: string, attempt: string]>(indexes.size < pods.length ? [] : indexes);
    for (const source of mine) if (source.role) named.set(source.pod, [roleName(source), source.attempt]);
    const counts = countEach([...named.values()].map(String));
    for (const [pod, one] of named) short.set(pod, counts.get(String(one))! > 1 ? `${one[0]} ${pod.slice(pod.lastIndexOf("-") + 1)}` : one[0]);
  }
  return short;
}

/** Return the first of these ways to shorten names that keeps them different, or else one that leaves them as they are. */
function fitting(names: string[], ...ways: ((name: string) => string)[]): (name: string) => string {
  return ways.find((way) => unique(names.map(way))) ?? ((name) => name);
}

/**
 * Return the keys of the main containers: one for each pod. A pod's own notice names it. Recordings of older versions have no such
 * notice; then it is the container that is the main one in other pods of the task, else the one that most pods have.
 */
export function mainContainers(sources: ContainerSummary[]): Set<string> {
  const known = new Set(sources.filter(({ mainContainer }) => mainContainer !== "").map(({ task, mainContainer }) => `${task} ${mainContainer}`));
  const counts = countEach(sources.map(({ task, container }) => `${task} ${container}`));
  const keys = new Set<string>();
  for (const containers of ordinaryContainers(sources).values()) {
    const named = containers.find(({ mainContainer }) => mainContainer !== "")?.mainContainer;
    const weight = ({ task, container }: ContainerSummary): number => (known.has(`${task} ${container}`) ? Infinity : counts.get(`${task} ${container}`)!);
    const main = named === undefined ? containers.reduce((best, one) => (weight(one) > weight(best) ? one : best)) : containers.find(({ container }) => container === named);
    if (main) keys.add(main.key);
  }
  return keys;
}

/** The ordinary containers of each pod, which are not init containers, sidecars or ephemeral ones. */
function ordinaryContainers(sources: ContainerSummary[]): Map<string, ContainerSummary[]> {
  const ordinary = new Map<string, ContainerSummary[]>();
  for (const source of sources) if (source.kind === "main") ordinary.set(source.pod, [...(ordinary.get(source.pod) ?? []), source]);
  return ordinary;
}

export function sourceLabels(sources: ContainerSummary[], columns: readonly string[] = ["pod", "container"]): SourceLabel[] {
  const names = shortNames(sources);
  const withRole = new Set(sources.flatMap(({ pod, role }) => (role ? [pod] : [])));
  const plain = [...names.keys()].filter((pod) => !withRole.has(pod));
  const fit = fitting(plain.map((pod) => names.get(pod)!), (name) => cutMiddle(initials(name)), initials);
  const fitRole = fitting([...new Set([...withRole].map((pod) => names.get(pod)!))], cutMiddle);
  for (const [pod, name] of names) names.set(pod, withRole.has(pod) ? fitRole(name) : fit(name));
  const ordinary = ordinaryContainers(sources);
  return sources.map(({ pod, container, kind, colour }) => {
    const several = kind !== "main" || (ordinary.get(pod)?.length ?? 0) > 1;
    const name = [columns.includes("pod") ? names.get(pod)! : "", columns.includes("container") && (several || !columns.includes("pod")) ? container : ""].filter(Boolean).join(" ");
    return { short: name, full: `${pod} · ${container}`, colour };
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
  /** Whether it is the main container of its pod. */
  isMain: boolean;
  /** Its task and role, if the task has other containers of that role; otherwise "". */
  team: string;
  colour: number;
  on: boolean;
  lines: number;
  /** Number of errors among the loaded lines. */
  errors: number;
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

const { compare } = new Intl.Collator(undefined, { numeric: true });

/** Return the rows of the list: one for each pod's main container; sidecars and init containers once, with the number of pods. */
export function sourceEntries(sources: ContainerSummary[]): SourceEntry[] {
  const short = shortNames(sources);
  const ordinary = ordinaryContainers(sources);
  const mainKeys = mainContainers(sources);
  const result = new Map<string, SourceEntry & { pods: number; index: number; task: string; rank: string; attempt: string }>();
  for (const source of sources) {
    const { key, task, pod, container, kind, role, rank, attempt, colour, on, lines, errors, runs, state, exit, node, lastLineAt, index } = source;
    const group = kind === "main" ? "" : kind === "sidecar" ? "sidecars" : kind === "init" ? "init" : "ephemeral";
    const id = kind === "main" ? key : `${task} ${kind} ${container}`;
    const name = kind === "main" ? `${short.get(pod)}${ordinary.get(pod)!.length > 1 ? ` ${container}` : ""}` : container;
    // Kubernetes' count: some runs may have ended before they could be read.
    const restarts = runs.at(-1)?.run ?? 0;
    const entry = result.get(id);
    if (entry === undefined) {
      result.set(id, { name, full: `${pod} ${container}`, group, isMain: mainKeys.has(key), team: kind === "main" && role ? `${task} ${role}` : "", colour, on, lines, errors, restarts, exit, endMessage: runs.at(-1)?.endMessage ?? "", ended: state === "ended", waiting: state === "waiting", keys: [key], nodes: [node], lastLineAt, runs: runEntries(runs), pods: 1, index: index ?? Infinity, task, rank, attempt });
      continue;
    }
    entry.keys.push(key);
    entry.pods++;
    entry.lines += lines;
    entry.errors += errors;
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
  const entries = [...result.values()];
  const order = ["", "sidecars", "init", "ephemeral"];
  const sizes = countEach(entries.map(({ team }) => team));
  for (const entry of entries) if (sizes.get(entry.team) === 1) entry.team = "";
  // Within an attempt all names differ.
  const names = countEach(entries.map(({ task, name }) => `${task} ${name}`));
  return entries
    .toSorted((a, b) => order.indexOf(a.group) - order.indexOf(b.group) || compare(a.team, b.team) || (a.team && (compare(b.attempt, a.attempt) || compare(a.rank, b.rank))) || (a.index === b.index ? 0 : a.index - b.index) || compare(a.name, b.name))
    .map(({ pods, index: _index, task, rank: _rank, attempt, ...entry }) => ({ ...entry, name: `${entry.name}${pods > 1 ? ` ×${pods}` : ""}${entry.team && attempt && names.get(`${task} ${entry.name}`)! > 1 ? ` · attempt ${attempt}` : ""}` }));
}

/** The containers of a task that have the same role. */
export interface RoleGroup {
  id: string;
  role: string;
  /** The role with the number of its containers. */
  name: string;
  keys: string[];
  on: boolean;
  lines: number;
  members: SourceEntry[];
}

/** Return the roles that several containers have. */
export function roleGroups(entries: SourceEntry[]): RoleGroup[] {
  const teams = [...new Set(entries.map(({ team }) => team))].filter(Boolean);
  return teams.map((id) => {
    const members = entries.filter(({ team }) => team === id);
    const role = id.slice(id.indexOf(" ") + 1);
    return { id, role, name: `${role} ×${members.length}`, keys: members.flatMap(({ keys }) => keys), on: members.some(({ on }) => on), lines: members.reduce((sum, { lines }) => sum + lines, 0), members };
  });
}

/** Return the runs, numbered as in the query's `run`: the first is 0. */
function runEntries(runs: RunSummary[]): RunEntry[] {
  return runs.length < 2 ? [] : runs.map((one) => ({ ...one, name: `run ${one.run}` }));
}
