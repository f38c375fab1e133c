/**
 * Which sources are shown: by the names of pod and container, and by the run. `cortex_jupyter/query/sources.py` has the same
 * rules; tests/query/fixtures/sources.json tests both.
 */

import type { Filter } from "../protocol/requests.ts";
import type { ContainerSummary } from "../protocol/update.ts";

/** One run of one container. */
export interface RunId {
  pod: string;
  container: string;
  run: number;
}

type SourceChoice = Pick<Filter, "pod" | "container" | "run">;

const PART = /^(?:([^/]+)\/([^/]+)\/)?(-?\d{1,9}|\*)$/;
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

/** Return the test for runs. An invalid choice, which may come from an address, accepts all. */
function runTest(wanted: string, all: readonly RunId[]): (one: RunId) => boolean {
  const parts = wanted === "" ? [] : wanted.split(",").map((one) => PART.exec(one.trim()));
  if (parts.length === 0 || parts.includes(null)) return () => true;
  const recorded = new Map<string, number[]>();
  for (const { pod, container, run } of all.toSorted((a, b) => a.run - b.run)) recorded.set(`${pod}/${container}`, [...(recorded.get(`${pod}/${container}`) ?? []), run]);
  const tests = parts.map((part) => {
    const [, pod = "*", container = "*", number] = part!;
    const [ofPod, ofContainer] = [nameTest(pod), nameTest(container)];
    const is = ({ run, ...of }: RunId): boolean => number === "*" || run === (number.startsWith("-") ? recorded.get(`${of.pod}/${of.container}`)?.at(Number(number)) : Number(number));
    return (one: RunId) => ofPod(one.pod) && ofContainer(one.container) && is(one);
  });
  return (one) => tests.some((test) => test(one));
}

/** Return the test for sources that were chosen in Python. Negative run numbers count back from the newest of `all`. */
export function sourceTest({ pod, container, run }: SourceChoice, all: readonly RunId[]): (one: RunId) => boolean {
  const [ofPod, ofContainer, ofRun] = [nameTest(pod), nameTest(container), runTest(run, all)];
  return (one) => ofPod(one.pod) && ofContainer(one.container) && ofRun(one);
}

/** Return the shown sources as Python's parameters. Parameters that would exclude nothing are left out. */
export function sourceQuery(filter: SourceChoice & Pick<Filter, "off">, sources: readonly ContainerSummary[]): Partial<SourceChoice> {
  const { pod, container, run, off } = filter;
  if (off.length === 0) return Object.fromEntries(Object.entries({ pod, container, run }).filter(([, value]) => value !== ""));
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
