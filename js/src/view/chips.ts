/** The filter's parts as chips: each can be turned round, written anew and taken out. */

import { isRegex, describeTerm } from "../store/asking/terms.ts";
import { parseConditions, quoteValue } from "../store/asking/where.ts";
import type { Filter } from "../types/asked.ts";
import { button, h } from "./dom.ts";
import { formatShortClock } from "./format.ts";
import { Menu } from "./menu.ts";

export interface ChipActions {
  change(change: Partial<Filter>): void;
  /** Puts a text into the box. */
  edit(text: string): void;
}

interface Chip {
  words: string;
  without: Partial<Filter>;
  typed?: string;
  inverted?: Partial<Filter>;
}

const OPPOSITE: Record<string, string> = { "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "~": "!~", "!~": "~" };
const WRITTEN: Record<string, string> = { ">=": "≥", "<=": "≤", "!=": "≠", "~": "contains", "!~": "does not contain" };

function describeCondition(text: string): string {
  return (parseConditions(text) ?? []).map(([key, op, value]) => `${key} ${WRITTEN[op] ?? op} ${value}`).join(" and ") || text;
}

/** Only a single condition has a simple opposite. */
function opposite(text: string): string | null {
  const found = parseConditions(text) ?? [];
  return found.length === 1 ? `${found[0][0]}${OPPOSITE[found[0][1]]}${quoteValue(found[0][2])}` : null;
}

function without(list: string[], one: string): string[] {
  return list.filter((other) => other !== one);
}

function withAdded(list: string[], one: string): string[] {
  return list.includes(one) ? list : [...list, one];
}

/** As it is written into the box; a plain text that would be read as something else stands in quotes. */
function typedText(term: string): string {
  return !isRegex(term) && (parseConditions(term) !== null || /^[-!"]/.test(term)) ? `"${term}"` : term;
}

export function chipsOf(filter: Filter): Chip[] {
  const { include, exclude, where, pod, container, run, stream, from, until } = filter;
  const chips: Chip[] = [];
  if (from !== null && until !== null) {
    const seconds = until - from < 3_600_000;
    chips.push({ words: `${formatShortClock(from, seconds)} to ${formatShortClock(until, seconds)}`, without: { from: null, until: null } });
  }
  for (const term of include) {
    const rest = without(include, term);
    chips.push({ words: `contains ${describeTerm(term)}`, without: { include: rest }, typed: typedText(term), inverted: { include: rest, exclude: withAdded(exclude, term) } });
  }
  for (const term of exclude) {
    const rest = without(exclude, term);
    chips.push({ words: `not ${describeTerm(term)}`, without: { exclude: rest }, typed: `!${term}`, inverted: { exclude: rest, include: withAdded(include, term) } });
  }
  for (const text of where) {
    const rest = without(where, text);
    const other = opposite(text);
    chips.push({ words: describeCondition(text), without: { where: rest }, typed: text, inverted: other === null ? undefined : { where: withAdded(rest, other) } });
  }
  for (const [name, value] of Object.entries({ pod, container, run, stream })) if (value) chips.push({ words: `${name} ${value}`, without: { [name]: "" } });
  return chips;
}

export function chipElement(chip: Chip, actions: ChipActions): HTMLElement {
  const remove = (): void => actions.change(chip.without);
  const menu = new Menu(chip.words, `${chip.words}: invert, edit or remove`, () => [
    ...(chip.inverted ? [{ label: "Invert", act: () => actions.change(chip.inverted!) }] : []),
    ...(chip.typed === undefined ? [] : [{ label: "Edit", act: () => {
      remove();
      actions.edit(chip.typed!);
    } }]),
    { label: "Remove", act: remove },
  ], "cl-cw");
  return h("span", { class: "cl-chip" }, menu.element, button("×", `Remove: ${chip.words}`, remove, { class: "cl-x" }));
}
