/**
 * Where the reader is, in rows, and how that stands to a scroll bar. The place (row, pixels into it) is the truth; scrollTop
 * follows it, and small moves of it are taken as pixels, large ones as a place in the whole. So it works for any number of rows:
 * an element ends at 33.5 million pixels, a log does not.
 */

export const ROW = 19;
/** Above the first row and below the last, px. */
export const PADDING = 4;
/** Below the height at which Chromium caps an element without saying so. */
export const MAX_HEIGHT = 33_000_000;

export interface Place {
  index: number;
  px: number;
}

export function contentHeight(total: number): number {
  return Math.min(total * ROW, MAX_HEIGHT);
}

function span(total: number, viewport: number): number {
  return Math.max(1, total * ROW - viewport);
}

export function toScrollTop({ index, px }: Place, total: number, viewport: number): number {
  const room = Math.max(0, contentHeight(total) - viewport);
  return Math.max(0, Math.min(room, ((index * ROW + px) / span(total, viewport)) * room));
}

export function fromScrollTop(scrollTop: number, total: number, viewport: number): Place {
  const room = Math.max(1, contentHeight(total) - viewport);
  const at = (scrollTop / room) * span(total, viewport);
  const index = Math.max(0, Math.min(total - 1, Math.floor(at / ROW)));
  return { index, px: at - index * ROW };
}

/** Moves that the reader's wheel, keys or finger make; anything larger is a drag of the bar. */
export function isSmallMove(delta: number, viewport: number): boolean {
  return Math.abs(delta) < 3 * viewport;
}
