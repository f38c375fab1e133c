/** Tracebacks that the border of a page has cut: their lines are here in two parts, which came one after the other. */

import { stripEscapes } from "../parsing/controls.ts";
import { MAX_CHARS } from "./folds.ts";
import { startTraceback, startFromFrame, mayStartBlock, type TracebackState, addLine } from "../parsing/grammars.ts";
import { NOTICE } from "./flags.ts";
import type { TaskStore } from "./store.ts";

/** So far from a page's lines, in numbers, the rest of a block is looked for. */
const SEARCH_DISTANCE = 600;

/** Rows that are one block, some of the page that begins at row `start` and some not; in the order of the file. */
export function findSplitBlocks(store: TaskStore, start: number): number[][] {
  const spans = new Map<number, { low: number; high: number; rows: number[] }>();
  for (let row = start; row < store.rows; row++) {
    if (store.flags[row] & NOTICE || store.isRemoved(row)) continue;
    const seq = store.seq[row];
    const span = spans.get(store.streamKey(row));
    if (span === undefined) spans.set(store.streamKey(row), { low: seq - SEARCH_DISTANCE, high: seq + SEARCH_DISTANCE, rows: [row] });
    else {
      span.low = Math.min(span.low, seq - SEARCH_DISTANCE);
      span.high = Math.max(span.high, seq + SEARCH_DISTANCE);
      span.rows.push(row);
    }
  }
  for (let row = 0; row < start; row++) {
    if (store.flags[row] & NOTICE || store.isRemoved(row) || store.isSearchHit(row)) continue;
    const span = spans.get(store.streamKey(row));
    if (span !== undefined && store.seq[row] >= span.low && store.seq[row] <= span.high) span.rows.push(row);
  }
  return [...spans.values()].flatMap(({ rows }) => (rows.some((row) => row < start) ? findBlocks(store, rows.toSorted((a, b) => store.seq[a] - store.seq[b])) : [])).filter((rows) => rows.some((row) => row < start) && rows.some((row) => row >= start));
}

/** The blocks of lines of one stream. */
function findBlocks(store: TaskStore, rows: number[]): number[][] {
  const found: number[][] = [];
  let open: { said: TracebackState; rows: number[]; pending: number[] } | null = null;
  let before = "";
  for (const [i, row] of rows.entries()) {
    const raw = store.texts[row];
    if (open !== null && !isConsecutive(store, rows[i - 1], row)) open = null;
    if (open === null && !mayStartBlock(raw)) {
      before = raw;
      continue;
    }
    const line = stripEscapes(raw.slice(0, MAX_CHARS)).replace(/\r$/, "");
    const verdict = open === null ? "no" : addLine(open.said, line);
    if (verdict === "maybe") open!.pending.push(row);
    else if (verdict === "yes") {
      open!.rows.push(...open!.pending, row);
      open!.pending = [];
    } else {
      let said = startTraceback(line);
      const above = said === null && i > 0 && isConsecutive(store, rows[i - 1], row) ? startFromFrame(line, stripEscapes(before.slice(0, MAX_CHARS))) : null;
      if (above) addLine((said = above), line);
      open = said === null ? null : { said, rows: above ? [rows[i - 1], row] : [row], pending: [] };
      if (open) found.push(open.rows);
    }
    before = raw;
  }
  return found;
}

/** Whether nothing of the recording is missing between two lines, so nothing of their stream. */
function isConsecutive(store: TaskStore, one: number, two: number): boolean {
  if (store.key[one] > store.key[two]) return false;
  for (let seq = store.seq[one] + 1; seq < store.seq[two]; seq++) if (!store.isLoaded(seq)) return false;
  return true;
}
