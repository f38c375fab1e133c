/** The tasks that are held, each with what is known of it beside its lines. */

import type { Link } from "../../transport/link.ts";
import type { Problem } from "../../types/events.ts";
import type { TaskSummary } from "../../types/summary.ts";
import type { Clock } from "./clock.ts";
import type { Links } from "./links.ts";
import { gapText } from "./notice.ts";
import type { Span } from "./spans.ts";
import { TaskStore } from "./store.ts";

/** The outline of a task that goes on is asked for again after so long. */
export const SURVEY_EVERY = 30_000;
const LISTED = 50;

export interface Held {
  store: TaskStore;
  /** Everything from this time on is here. */
  coveredFrom: number;
  loading: boolean;
  autoPages: number;
  problem: Problem | null;
  /** When the link last was known to be alive: everything before that is here. */
  heardAt: number;
  /** Whether the last request asked for the window in place of what follows the cursor. */
  stale: boolean;
  /** Begin at least here, whatever the window: somebody was reading there. */
  reach: number;
  surveyedAt: number;
  surveyEvery: number;
  /** Lines that had been recorded then. */
  surveyedOf: number;
  /** When its completeness statement was asked for in vain. */
  statedAt: number;
  surveying: Promise<void> | undefined;
  /** Warnings and errors of what is not loaded are being counted. */
  uncounted: boolean;
  /** Why lines that were looked at did not come. */
  trouble: Problem | null;
  /** What is looked at is not loaded before this. */
  restUntil: number;
  /** The last absence, while it is not known which line came after it. */
  away: Span | undefined;
}

export class Tasks {
  readonly #held = new Map<string, Held>();
  links!: Links;

  constructor(private readonly clock: Clock) {}

  get all(): Iterable<Held> {
    return this.#held.values();
  }

  hold(task: string): Held {
    let held = this.#held.get(task);
    if (held === undefined) {
      held = { store: new TaskStore(task), coveredFrom: Infinity, loading: false, autoPages: 0, problem: null, heardAt: Date.now(), stale: false, reach: Infinity, surveyedAt: 0, statedAt: Infinity, surveyEvery: SURVEY_EVERY, surveyedOf: -1, surveying: undefined, uncounted: false, trouble: null, restUntil: 0, away: undefined };
      this.#held.set(task, held);
    }
    return held;
  }

  get(task: string): Held | undefined {
    return this.#held.get(task);
  }

  release(wanted: ReadonlySet<string>): void {
    for (const task of this.#held.keys()) if (!wanted.has(task)) this.#held.delete(task);
  }

  now(): number {
    return this.clock.now(Math.max(0, ...[...this.#held.values()].map(({ store }) => store.newest)));
  }

  summaries(): TaskSummary[] {
    return [...this.#held.keys()].map((task) => this.summary(task));
  }

  summary(task: string): TaskSummary {
    const { complete, ended, exit, gaps, gapLines, recorded: lines, message, phases, reason, state, stopped, hidden } = this.hold(task).store;
    const missing = complete ? complete.gaps.map((gap) => ({ text: gapText(gap), hint: gap.hint ?? "" })) : gaps;
    return { task, complete, ended, exit, gaps: missing.length, missing: missing.slice(0, LISTED), gapLines, lines, message, reason, state, stopped, hidden, pods: [...phases.pods.values()] };
  }

  drop(task: string): void {
    this.#held.delete(task);
  }

  linkOf(task: string): Link | undefined {
    return this.links.of(task)?.link;
  }
}
