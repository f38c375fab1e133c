/**
 * The colour of a source: one for each rank, or for each pod that has none, in every viewer and after every reload.
 * `cortex_jupyter/analysis/colours.py` has the same rule, and tests/analysis/fixtures/colours.json tests both.
 */

import type { SourceInfo } from "../protocol/events.ts";

/** Number of colours: 32 hues, in two shades each that alternate. */
const COLOURS = 32;
/** The roles whose members are the most. Their colours begin with the first; all other roles begin in the second half. */
const WORKERS = new Set(["worker", "node", "executor"]);

/** Return the FNV-1a hash of a text. */
function hash(text: string): number {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return value >>> 0;
}

/** Return the place of a rank such as `3`, or `2-3` in group 2. */
function placeOf(rank: string): number {
  return rank.split("-").reduce((place, part) => 4 * place + (/^\d+$/.test(part) ? Number(part) : hash(part)), 0);
}

/**
 * Return the number of a source's colour. Ranks and numbered pods follow each other, so that neighbours differ most. `position`
 * is the position of the task among the displayed tasks: equal ranks of two tasks have different colours.
 */
export function sourceColour({ pod, role, rank }: Pick<SourceInfo, "pod" | "role" | "rank">, task: string, position = 0): number {
  const name = task.slice(task.lastIndexOf("/") + 1);
  let place: number;
  const index = pod.startsWith(`${name}-`) ? /^(\d{1,5})(?:-[a-z0-9]{5})?$/.exec(pod.slice(name.length + 1)) : null;
  const ordinal = /^(.+)-(\d{1,5})$/.exec(pod);
  if (role && rank) place = placeOf(rank) + (WORKERS.has(role) ? 0 : 16 + (hash(role) % 16));
  else if (index) place = Number(index[1]);
  else if (ordinal) place = Number(ordinal[2]) + (hash(ordinal[1]) % COLOURS);
  else place = hash(pod) % COLOURS;
  return (place + 5 * position) % COLOURS;
}

/** Return a colour's hue (degrees), and whether it is the stronger shade. Sixteen colours in sequence have hues that are 22.5° apart. */
export function paletteColour(colour: number): { hue: number; strong: 0 | 1 } {
  const half = colour >> 4;
  return { hue: (255 + 157.5 * colour + 11.25 * half) % 360, strong: ((colour + half) & 1) as 0 | 1 };
}

/** Return a colour as CSS properties, which the style sheet reads. */
export function colourStyle(colour: number): string {
  const { hue, strong } = paletteColour(colour);
  return `--h:${hue};--s:${strong}`;
}
