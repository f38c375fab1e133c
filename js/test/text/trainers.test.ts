import { describe, expect, it } from "vitest";
import programs from "../../../tests/parsing/trainers.json";
import { parseMetrics } from "../../src/text/metrics.ts";
import { MetricTables } from "../../src/text/metrictables.ts";

interface Program {
  program: string;
  lines: string[];
  reports: [line: number, step: number | null, rank: number | null, values: Record<string, number | string>][];
}

describe("what trainers print says the same as in Python", () => {
  it.each((programs as unknown as Program[]).map((one) => [one.program, one] as const))("%s", (_, { lines, reports }) => {
    const tables = new MetricTables();
    const found = lines.flatMap((line, index) => parseMetrics(line, tables).map((report) => ({ index, report })));
    // As a chart does: a line without a step has the epoch of the lines before it.
    let last: number | null = null;
    const got = found.map(({ index, report: { values, step, epoch } }) => {
      if (!Number.isNaN(epoch)) last = epoch;
      return [index, Number.isNaN(step) ? last : step, Object.fromEntries(values)];
    });
    expect(got).toEqual(reports.map(([index, step, , values]) => [index, step, values]));
  });
});
