import { expect, it } from "vitest";
import { formatMoment, timeTicks } from "../../src/ui/scale.ts";

const FROM = new Date(2026, 0, 31, 11, 38, 8, 250).getTime();

it.each([
  [7_200_000, ["11:38", "12:02", "12:26"]],
  [300_000, ["11:38:08", "11:39:08", "11:40:08"]],
  [4_000, ["11:38:08.2", "11:38:09.0", "11:38:09.8"]],
  [250, ["11:38:08.250", "11:38:08.300", "11:38:08.350"]],
  // Less than a clock's thousandth apart: said once.
  [2, ["11:38:08.250", "", ""]],
  [2 * 86_400_000, ["Jan 31 11:38", "Jan 31 21:14", "Feb 1 06:50"]],
  [50 * 86_400_000, ["Jan 31", "Feb 10", "Feb 20"]],
])("an axis of %i ms", (length, first) => {
  const all = timeTicks(FROM, FROM + length, 5);
  expect(all.slice(0, 3)).toEqual(first);
  const said = all.filter(Boolean);
  expect(new Set(said).size).toBe(said.length);
});

it("an axis without length has no labels", () => {
  expect(timeTicks(FROM, FROM, 5)).toEqual(["", "", "", "", ""]);
});

it.each([
  [7_200_000, "11:38:08"],
  [30_000, "11:38:08.2"],
  [4_000, "11:38:08.250"],
  [2 * 86_400_000, "Jan 31 11:38:08"],
])("a place on an axis of %i ms is described as exactly as a pixel allows", (length, said) => {
  expect(formatMoment(FROM, length / 160, length)).toBe(said);
});
