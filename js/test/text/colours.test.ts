/** The colours of sources: the fixture that Python's tests read, too. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { paletteColour, sourceColour } from "../../src/text/colours.ts";

const table = JSON.parse(readFileSync(new URL("../../../tests/analysis/fixtures/colours.json", import.meta.url), "utf8")) as { colours: [string, string, string, string, number, number][]; palette: [number, 0 | 1][] };

test.each(table.colours)("in %s, pod %s, role %o, rank %o, position %i: colour %i", (task, pod, role, rank, position, colour) => {
  expect(sourceColour({ pod, role, rank }, task, position)).toBe(colour);
});

test("the palette", () => {
  expect(table.palette.map((_unused, colour) => Object.values(paletteColour(colour)))).toEqual(table.palette);
});
