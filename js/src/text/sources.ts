/**
 * Selection of sources by pod, container, role, rank, run and attempt.
 * `cortex_jupyter/query/sources.py` has the same rules; tests/query/fixtures/sources.json tests both.
 */

import type { Filter } from "../protocol/requests.ts";
import type { ContainerSummary } from "../protocol/update.ts";

/** One run of one container. */
export interface RunId {
  pod: string;
  container: string;
  run: number;
  role?: string;
  rank?: string;
  attempt?: string;
}

/** Return a source's name by its role and rank: `worker-3`, `driver`; "" if it has none. */
export function roleName({ role = "", rank = "" }: Pick<RunId, "role" | "rank">): string {
  return role && rank ? `${role}-${rank}` : role;
}

type SourceChoice = Pick<Filter, "pod" | "container" | "role" | "rank" | "run" | "attempt">;

/** The choice that excludes no source. */
export const ALL_SOURCES: SourceChoice = { pod: "", container: "", role: "", rank: "", run: "", attempt: "" };

/** Return the part of a filter that chooses sources. */
export function sourceChoice({ pod, container, role, rank, run, attempt }: SourceChoice): SourceChoice {
  return { pod, container, role, rank, run, attempt };
}

const PART = /^(?:([^/]+)\/([^/]+)\/)?(-?\d{1,9}|\*)$/;
const RANGE = /^(\d{1,9})(?:-(\d{1,9}))?$/;
const RANK_GLOB = /^[\d*?-]*[*?][\d*?-]*$/;
const ATTEMPT = /^-?\d{1,9}$/;
/** Maximum number of characters of a choice of sources in an address. */
const MAX_QUERY_CHARS = 4000;

/** Translate a glob as Python's fnmatch does: `*`, `?`, `[ab]`, `[!ab]`. */
function globRegex(glob: string): RegExp {
  const source = glob.replace(/\[(!?)(\]?[^\]]*)\]|[\\^$.*+?()[\]{}|]/g, (result, not?: string, set?: string) => {
    if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\\]^]/g, String.raw`\$&`)}]`;
    return result === "*" ? ".*" : result === "?" ? "." : `\\${result}`;
  });
  try {
    return new RegExp(`^${source}$`, "s");
  } catch {
    return /(?!)/; // an invalid range such as [z-a] matches nothing
  }
}

function nameTest(wanted: string): (name: string) => boolean {
  if (wanted === "") return () => true;
  const tests = wanted.split(",").map((one) => globRegex(one.trim()));
  return (name) => tests.some((test) => test.test(name));
}

/** Split a choice at its commas. Return no parts if one is invalid: a choice from an address may be, and then accepts all. */
function validParts(wanted: string, isValid: (part: string) => boolean): string[] {
  const parts = wanted.split(",").map((one) => one.trim());
  return parts.every(isValid) ? parts : [];
}

/** Return a test for numbers of runs or attempts. Negative ones count back from the newest of those in `all` with the same key. */
function numberTest(all: readonly RunId[], keyOf: (one: RunId) => string, numberOf: (one: RunId) => number): (one: RunId, wanted: number) => boolean {
  const recorded = new Map<string, number[]>();
  for (const one of all.toSorted((a, b) => numberOf(a) - numberOf(b))) {
    const numbers = recorded.get(keyOf(one)) ?? [];
    if (numbers.at(-1) !== numberOf(one)) numbers.push(numberOf(one));
    recorded.set(keyOf(one), numbers);
  }
  return (one, wanted) => numberOf(one) === (wanted < 0 ? recorded.get(keyOf(one))?.at(wanted) : wanted);
}

function runTest(wanted: string, all: readonly RunId[]): (one: RunId) => boolean {
  const isRun = numberTest(all, ({ pod, container }) => `${pod}/${container}`, ({ run }) => run);
  const tests = validParts(wanted, (part) => PART.test(part)).map((part) => {
    const [, pod = "*", container = "*", number] = PART.exec(part)!;
    const [ofPod, ofContainer] = [nameTest(pod), nameTest(container)];
    return (one: RunId) => ofPod(one.pod) && ofContainer(one.container) && (number === "*" || isRun(one, Number(number)));
  });
  return (one) => tests.length === 0 || tests.some((test) => test(one));
}

/** Parse `3` or `0-3`. */
function parseRange(text: string): { first: number; last: number } | null {
  const [, first, last = first] = RANGE.exec(text) ?? [];
  return Number(first) <= Number(last) ? { first: Number(first), last: Number(last) } : null;
}

/** Return the test for ranks, which are ranges or globs. A range is compared with the last number of a rank such as `2-3`. */
function rankTest(wanted: string): (rank: string) => boolean {
  const tests = validParts(wanted, (part) => parseRange(part) !== null || RANK_GLOB.test(part)).map((part) => {
    const range = parseRange(part);
    const number = (rank: string): number => Number(rank.slice(rank.lastIndexOf("-") + 1));
    return range === null ? nameTest(part) : (rank: string) => number(rank) >= range.first && number(rank) <= range.last;
  });
  return (rank) => tests.length === 0 || (rank !== "" && tests.some((test) => test(rank)));
}

/** Return the test for attempts. Negative numbers count for each role and rank, because some kinds restart only a part of a task. */
function attemptTest(wanted: string, all: readonly RunId[]): (one: RunId) => boolean {
  const isAttempt = numberTest(all, ({ role, rank }) => `${role} ${rank}`, ({ attempt }) => Number(attempt) || 0);
  const numbers = validParts(wanted, (part) => ATTEMPT.test(part)).map(Number);
  return (one) => numbers.length === 0 || numbers.some((number) => isAttempt(one, number));
}

/** Return the test for sources that were chosen in Python. */
export function sourceTest(choice: SourceChoice, all: readonly RunId[]): (one: RunId) => boolean {
  const [ofPod, ofContainer, ofRole] = [choice.pod, choice.container, choice.role].map(nameTest);
  const [ofRank, ofRun, ofAttempt] = [rankTest(choice.rank), runTest(choice.run, all), attemptTest(choice.attempt, all)];
  return (one) => ofPod(one.pod) && ofContainer(one.container) && ofRole(one.role ?? "") && ofRank(one.rank ?? "") && ofRun(one) && ofAttempt(one);
}

/** Return the shown sources as Python's parameters. Parameters that would exclude nothing are left out. */
export function sourceQuery(filter: SourceChoice & Pick<Filter, "off">, sources: readonly ContainerSummary[]): Partial<SourceChoice> {
  if (filter.off.length === 0) return Object.fromEntries(Object.entries(sourceChoice(filter)).filter(([, value]) => value !== ""));
  const on = sources.filter((source) => source.on);
  if (on.length === sources.length && !on.some(isPartlyShown)) return {};
  // No pod has this name, so no source is shown.
  if (on.length === 0) return { pod: "-" };
  const pods = new Set(on.map((source) => source.pod));
  const containers = new Set(on.map((source) => source.container));
  // A list of pods and one of containers suffice if they select no hidden container.
  if (!on.some(isPartlyShown) && sources.every((source) => source.on || !pods.has(source.pod) || !containers.has(source.container))) {
    const few = (names: Set<string>, every: string[]): string => (every.every((name) => names.has(name)) ? "" : [...names].join(","));
    const result = { pod: few(pods, sources.map((source) => source.pod)), container: few(containers, sources.map((source) => source.container)) };
    return Object.fromEntries(Object.entries(result).filter(([, value]) => value !== ""));
  }
  const parts = on.flatMap((source) => (isPartlyShown(source) ? source.runs.filter((one) => one.on).map((one) => String(one.run)) : ["*"]).map((number) => `${source.pod}/${source.container}/${number}`));
  return { run: parts.join(",") };
}

/** Return `sourceQuery`, or no parameters if they are too long for an address. */
export function boundedSourceQuery(filter: SourceChoice & Pick<Filter, "off">, sources: readonly ContainerSummary[]): Partial<SourceChoice> {
  const result = sourceQuery(filter, sources);
  return Object.values(result).join("").length > MAX_QUERY_CHARS ? {} : result;
}

function isPartlyShown({ runs }: ContainerSummary): boolean {
  return runs.some((one) => !one.on);
}
