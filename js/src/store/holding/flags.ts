/** What a row is, as bits beside its level; and the number of a row that is of no source. */

export const LEVEL_BITS = 7;
export const NOTICE = 8;
export const GAP = 16;
export const STDOUT = 32;
export const STDERR = 64;
/** Lines that are in the recording and not here, on demand. */
export const HOLE = 128;
export const NO_SOURCE = 0xffff;
