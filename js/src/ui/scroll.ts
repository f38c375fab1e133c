/**
 * Converts between the user's place (a row, and pixels into it) and the scroll bar. The place is what counts; scrollTop is set from
 * it. A small move changes the place by its pixels, a large one by its share of the whole bar. So there can be any number of rows,
 * although browsers limit an element to 33.5 million pixels.
 */

export const ROW_PX = 19;
/** Empty space above the first row and below the last (px). */
export const PADDING_PX = 4;
/** Maximum height of the scrolled content (px). It is below Chromium's silent limit for the height of an element. */
const MAX_HEIGHT_PX = 33_000_000;

export interface Place {
  index: number;
  px: number;
}

export function contentHeight(total: number): number {
  return Math.min(total * ROW_PX, MAX_HEIGHT_PX);
}

function scrollRange(total: number, viewport: number): number {
  return Math.max(1, total * ROW_PX - viewport);
}

export function toScrollTop({ index, px }: Place, total: number, viewport: number): number {
  const room = Math.max(0, contentHeight(total) - viewport);
  return Math.max(0, Math.min(room, ((index * ROW_PX + px) / scrollRange(total, viewport)) * room));
}

export function fromScrollTop(scrollTop: number, total: number, viewport: number): Place {
  const room = Math.max(1, contentHeight(total) - viewport);
  const at = (scrollTop / room) * scrollRange(total, viewport);
  const index = Math.max(0, Math.min(total - 1, Math.floor(at / ROW_PX)));
  return { index, px: at - index * ROW_PX };
}

/** Return whether a move is so small that it comes from the wheel, keys or a finger. A larger one comes from dragging the bar. */
export function isSmallMove(delta: number, viewport: number): boolean {
  return Math.abs(delta) < 3 * viewport;
}
