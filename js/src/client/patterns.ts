/** The patterns of a recording's lines, and the commonest values of their fields, as the server or the kernel finds them. */

import type { Problem } from "../protocol/events.ts";
import { rankOf } from "../text/level.ts";
import { fetchEvents, readPageConfig, taskPath, withOrigin } from "../transport/http.ts";
import { type EventSink, MAX_SEARCH_SILENCE_MS, SilenceTimer } from "../transport/link.ts";
import { SseParser } from "../transport/sseparser.ts";
import type { Session } from "./session.ts";

/** Number of intervals that the lines of a pattern are counted by. */
const BINS = 32;
const MAX_VALUES = 8;

export interface Pattern {
  /** `<*>` stands for what varies. */
  pattern: string;
  /** Number of its lines. */
  count: number;
  /** How often it occurred: a traceback or a table counts once. An older server does not say it. */
  times?: number;
  level: string | null;
  pods: number;
  /** Times of its first and last line (ns). */
  first: number;
  last: number;
  counts: number[];
  /** A regular expression for its lines; null if there is none. */
  grep: string | null;
}

export function timesOf({ times, count }: Pattern): number {
  return times ?? count;
}

export interface Field {
  name: string;
  lines: number;
  /** The number of different values. */
  distinct: number;
  values: [text: string, lines: number][];
  /** Their range, if all values are numbers. */
  least: number | null;
  most: number | null;
}

export interface Patterns {
  patterns: Pattern[];
  left_out: number;
  /** Time of the counts (ns). */
  from: number;
  to: number;
  fields: Field[];
  /** Number of lines that were read, and of all lines. */
  looked: number;
  lines: number;
}

/** Ask for the patterns or the ranks of a task. Return a function that stops the request. */
export function requestEvents(session: Session, what: "patterns" | "ranks", task: string, isComm: boolean, sink: EventSink): () => void {
  if (isComm) return requestFromKernel(session, what, task, sink);
  const abort = new AbortController();
  void fetchEvents(fetch, withOrigin(readPageConfig(), session.origin), `${taskPath(task)}/${what}`, sink, abort);
  return () => abort.abort();
}

function requestFromKernel(session: Session, what: string, task: string, sink: EventSink): () => void {
  // A kernel's answers reach all pages that show the widget. Other requests of this page have other names.
  const client = Math.random().toString(36).slice(2);
  const parser = new SseParser();
  const end = (problem?: Problem): void => {
    silence.stop();
    if (session.receivers.delete(receive)) sink.end(problem);
  };
  const stop = (): void => {
    silence.stop();
    if (session.receivers.delete(receive)) session.widget.send({ client, type: "stop", id: 1 });
  };
  const silence = new SilenceTimer(MAX_SEARCH_SILENCE_MS, () => {
    session.widget.send({ client, type: "stop", id: 1 });
    end({ code: "Timeout", message: `The kernel sent nothing for ${MAX_SEARCH_SILENCE_MS / 1000} s; it may be busy, or was restarted` });
  });
  const receive = (message: Record<string, unknown>, bytes?: Uint8Array): boolean => {
    if (message.client !== client) return false;
    silence.heard();
    if (bytes !== undefined) parser.push(bytes, (event) => sink.event(event));
    if (message.done === true) end(message.error as Problem | undefined);
    return true;
  };
  session.receivers.add(receive);
  session.widget.send({ client, type: what, id: 1, task });
  return stop;
}

/** Read the patterns of a task. Reject with a `Problem`. */
function readTask(session: Session, task: string, isComm: boolean, signal: AbortSignal, onProgress: (share: number) => void): Promise<Patterns> {
  return new Promise((resolve, reject) => {
    let found: Patterns | undefined;
    const stop = requestEvents(session, "patterns", task, isComm, {
      event({ event, data }) {
        const doc = JSON.parse(data) as Patterns & Problem;
        if (event === "progress") onProgress(doc.lines > 0 ? doc.looked / doc.lines : 1);
        else if (event === "patterns") found = doc;
        else if (event === "done") resolve({ ...found!, looked: doc.looked, lines: doc.lines });
        else if (event === "error") reject(doc);
      },
      end: (problem) => reject(problem ?? { code: "CutOff", message: "The answer was cut off" }),
    });
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Read the patterns of several tasks, one after the other. `onProgress` gets the share that has been read. */
export async function readPatterns(session: Session, isComm: boolean, signal: AbortSignal, onProgress: (share: number) => void): Promise<Patterns> {
  const all: Patterns[] = [];
  const { tasks } = session;
  for (const task of tasks) all.push(await readTask(session, task, isComm, signal, (share) => onProgress((all.length + share) / tasks.length)));
  return all.length === 1 ? all[0] : merge(all);
}

/** Join the patterns of several tasks. Equal ones become one, with the counts of both. */
export function merge(all: Patterns[]): Patterns {
  const filled = all.filter(({ patterns }) => patterns.length > 0);
  const [from, to] = [Math.min(...filled.map((one) => one.from)), Math.max(...filled.map((one) => one.to))];
  const patterns = new Map<string, Pattern>();
  const fields = new Map<string, Field>();
  const sum = (pick: (one: Patterns) => number): number => all.reduce((total, one) => total + pick(one), 0);
  for (const task of filled) {
    const width = (task.to - task.from) / BINS;
    for (const one of task.patterns) {
      const counts = patterns.get(one.pattern)?.counts ?? Array.from({ length: BINS }, () => 0);
      for (const [i, count] of one.counts.entries()) counts[Math.min(BINS - 1, Math.floor(((task.from + (i + 0.5) * width - from) * BINS) / Math.max(1, to - from)))] += count;
      const other = patterns.get(one.pattern);
      const joined = other === undefined ? {} : { count: other.count + one.count, times: timesOf(other) + timesOf(one), pods: other.pods + one.pods, level: rankOf(other.level ?? "") > rankOf(one.level ?? "") ? other.level : one.level, first: Math.min(other.first, one.first), last: Math.max(other.last, one.last), grep: other.grep ?? one.grep };
      patterns.set(one.pattern, { ...one, ...joined, counts });
    }
    for (const one of task.fields) {
      const other = fields.get(one.name);
      fields.set(one.name, other === undefined ? one : mergeFields(other, one));
    }
  }
  return {
    patterns: [...patterns.values()].toSorted((a, b) => b.count - a.count),
    left_out: sum((one) => one.left_out),
    from: filled.length > 0 ? from : 0,
    to: filled.length > 0 ? to : 0,
    fields: [...fields.values()].toSorted((a, b) => b.lines - a.lines || a.distinct - b.distinct),
    looked: sum(({ looked }) => looked),
    lines: sum(({ lines }) => lines),
  };
}

function mergeFields(a: Field, b: Field): Field {
  const values = new Map(a.values);
  for (const [text, lines] of b.values) values.set(text, (values.get(text) ?? 0) + lines);
  const both = (pick: (x: number, y: number) => number, x: number | null, y: number | null): number | null => (x === null || y === null ? null : pick(x, y));
  return {
    name: a.name,
    lines: a.lines + b.lines,
    distinct: Math.max(a.distinct, b.distinct, values.size),
    values: [...values].toSorted((x, y) => y[1] - x[1]).slice(0, MAX_VALUES),
    least: both(Math.min, a.least, b.least),
    most: both(Math.max, a.most, b.most),
  };
}
