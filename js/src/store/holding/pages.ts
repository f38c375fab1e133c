/** Loads what is not here, page by page, where somebody looks: back from its end, on from its beginning, or around a place within it. */

import type { Link, PageQuery } from "../../transport/link.ts";
import type { LogPage } from "../../types/events.ts";
import { HOLE_LINES, spanLines, spanRows, type UnloadedSpan, spanTimeAt } from "./spans.ts";
import type { RowEditor } from "./watcher.ts";
import { NOTICE } from "./flags.ts";
import type { TaskStore } from "./store.ts";
import { fromIso } from "../parsing/time.ts";

export const PAGE_LINES = 2000;
/** Pages that bring nothing new are followed by another, so often. */
const MAX_EMPTY_PAGES = 5;

/** Rows [first, last] of a span are looked at. */
export interface WantedRows {
  span: UnloadedSpan;
  first: number;
  last: number;
  /** What is looked for is there, ms. */
  time?: number;
}

function toIso(ms: number): string {
  return new Date(ms).toISOString();
}

/** The times of a page's lines: the earliest and the latest. */
function timeRange(page: LogPage): [low: number, high: number] {
  const times = page.records.map((record) => fromIso(record.time));
  return [Math.min(Infinity, ...times), Math.max(-Infinity, ...times)];
}

export class SpanLoader {
  constructor(
    private readonly store: TaskStore,
    private readonly link: Link,
    private readonly rows: RowEditor,
  ) {}

  async loadRows({ span, first, last, time }: WantedRows): Promise<void> {
    const rows = spanRows(span);
    if (time !== undefined) await this.#loadAround(span, first, time);
    else if (rows - last <= PAGE_LINES) await this.loadBefore(span);
    else if (first <= PAGE_LINES / 2) await this.loadAfter(span);
    else await this.#loadAround(span, first);
  }

  /** The lines before the end of a span. */
  async loadBefore(span: UnloadedSpan): Promise<void> {
    const { store, link } = this;
    let place: Pick<PageQuery, "until" | "before"> = span.older === undefined ? { until: toIso(Math.floor(span.high) + 1) } : { before: span.older };
    for (let i = 0; i < MAX_EMPTY_PAGES; i++) {
      const page = await link.page(store.task, { ...place, limit: PAGE_LINES, since: "all" });
      if (!store.spans.includes(span)) return;
      const [low] = timeRange(page);
      const older = page.older ?? undefined;
      const before = older !== undefined && low >= span.low ? { ...span, high: Math.min(low, span.high), older } : null;
      const taken = this.#insert(page, span, before, null);
      // Only what was here already: the page before that.
      if (taken.added > 0 || taken.before === undefined) return;
      span = taken.before;
      place = { before: older };
    }
  }

  /** The lines after the beginning of a span. */
  async loadAfter(span: UnloadedSpan): Promise<void> {
    const { store, link } = this;
    const place = span.newer === undefined ? { at: toIso(Math.floor(span.low)) } : { after: span.newer, since: "all" };
    const page = await link.page(store.task, { ...place, limit: span.until < Infinity ? HOLE_LINES : PAGE_LINES });
    if (!store.spans.includes(span)) return;
    const [, high] = timeRange(page);
    // In the order of recording it ends with a number, by time with a time.
    const byNumber = span.newer !== undefined && span.onDemand;
    const reached = byNumber ? Math.max(-1, ...page.records.map(({ seq }) => seq)) >= span.until : high > span.high;
    const whole = !page.newer || page.records.length === 0 || reached;
    this.#insert(page, span, null, whole ? null : { ...span, low: Math.max(span.low, high), newer: page.newer ?? undefined });
  }

  async #loadAround(span: UnloadedSpan, offset: number, at?: number): Promise<void> {
    const { store, link } = this;
    const time = at ?? spanTimeAt(span, offset, store.outline);
    const page = await link.page(store.task, { at: toIso(time), limit: PAGE_LINES });
    if (!store.spans.includes(span)) return;
    const [low, high] = timeRange(page);
    // The reader's row stays the row it was: what is before it takes as many rows as it took.
    const lead = Math.max(1, offset - page.records.filter((record) => fromIso(record.time) < time).length);
    const rest = { ...span, until: Infinity, onDemand: false };
    const before = page.older && low >= span.low ? { ...rest, high: low, older: page.older, newer: span.onDemand ? undefined : span.newer, lines: lead } : null;
    const behind = Math.max(1, spanLines(span) - (before ? lead : 0) - page.records.length);
    const after = page.newer && high <= span.high ? { ...rest, low: high, newer: page.newer, lines: behind } : null;
    this.#insert(page, span, before, after);
  }

  /** Puts a page in the place of a span, and spans for what is still missing before and behind it. */
  #insert(page: LogPage, span: UnloadedSpan, before: Omit<UnloadedSpan, "row"> | null, after: Omit<UnloadedSpan, "row"> | null): { added: number; before?: UnloadedSpan } {
    const { store } = this;
    const start = store.rows;
    let [added, first, last] = [0, span.to, span.from];
    let made: UnloadedSpan | undefined;
    this.rows.close(span);
    this.rows.add(() => {
      added = store.addPage(page, span);
      for (let row = start; row < store.rows; row++) {
        if (store.flags[row] & NOTICE) continue;
        first = Math.min(first, store.key[row]);
        last = Math.max(last, store.key[row]);
      }
      const lines = Math.max(1, spanLines(span) - added);
      if (before) made = store.addSpan({ ...before, lines: after ? before.lines : lines, to: first });
      if (after) store.addSpan({ ...after, lines: before ? after.lines : lines, from: last });
    });
    return { added, before: made };
  }
}
