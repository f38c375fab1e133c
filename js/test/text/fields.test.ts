/// <reference types="node" />
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { stripEscapes } from "../../src/text/ansi.ts";
import { formatValue, parseFields } from "../../src/text/fields.ts";
import { isSameTime, parseLineTime } from "../../src/text/linetime.ts";

const cases = JSON.parse(readFileSync(new URL("../../../tests/parsing/lines.json", import.meta.url), "utf8")) as { line: string; fields: object | null }[];

it.each(cases)("the page and Python see the same fields: $line", ({ line, fields }) => {
  const found = parseFields(stripEscapes(line));
  expect(found === null ? null : { ...found.fields }).toEqual(fields);
});

it("numbers keep their digits, and JavaScript's own names are ordinary names", () => {
  const found = parseFields('{"id":12345678901234567890,"__proto__":"x","n":1.5,"o":{"id":9007199254740993}}')!;
  expect(formatValue(found.fields.id)).toBe("12345678901234567890");
  expect(formatValue(found.fields.o)).toBe('{"id":9007199254740993}');
  expect(Object.keys(found.fields)).toContain("__proto__");
  expect(parseFields("__proto__=1 b=2")!.fields).toHaveProperty("b", "2");
});

it("parses a mebibyte quickly", () => {
  for (const part of ["a=", "{", "a=1 ", '"', "a=\\", " "]) parseFields(part.repeat(2 ** 20 / part.length) + "}");
});

describe("a line's own time", () => {
  const T = Date.UTC(2026, 0, 31, 12, 0, 0, 123);
  it.each([
    ["2026-01-31T12:00:00.123456Z INFO x", "2026-01-31T12:00:00.123456Z"],
    ["[2026-01-31 12:00:00,123] x", "[2026-01-31 12:00:00,123]"],
    ["2026-01-31T14:00:00+02:00 x", "2026-01-31T14:00:00+02:00"],
    ["2026/01/31 12:00:00 x", "2026/01/31 12:00:00"],
    ["2026-01-31 17:30:00 INFO in another zone", "2026-01-31 17:30:00"],
    ["[rank0] 2026-01-31 12:00:00 x", "2026-01-31 12:00:00"],
    ["I0131 12:00:00.000001    1 server.go:42] x", "I0131 12:00:00.000001"],
    ['10.0.0.1 - - [31/Jan/2026:13:00:00 +0100] "GET /"', "[31/Jan/2026:13:00:00 +0100]"],
    ["01/31/2026 12:00:01 - INFO - x", "01/31/2026 12:00:01"],
    ["[01/31/26 12:00:00] x", "[01/31/26 12:00:00]"],
    ["Jan 31 12:00:00 gpu-1 x", "Jan 31 12:00:00"],
    ["12:00:00.100 [main] INFO x", "12:00:00.100"],
    ["1769860800.1 x", "1769860800.1"],
    ["1769860800123 x", "1769860800123"],
  ])("%s equals that of its row", (line, written) => {
    const stamp = parseLineTime(line, T)!;
    expect(line.slice(stamp.from, stamp.to)).toBe(written);
    expect(isSameTime(stamp, T)).toBe(true);
  });

  it.each(["2026-01-31T12:00:05Z x", "2026-01-31T14:00:00Z another hour of a named zone", "2026-02-02 12:00:00 x", "2026-01-31 12:07:00 x", "12:03:00 x", "1769860900 x"])("%s does not", (line) => {
    expect(isSameTime(parseLineTime(line, T)!, T)).toBe(false);
  });

  it.each(["x", "at 12:00:00", "ratio 3:10", "v2026-01-31", "1769860800123456 x", "127.0.0.1:80"])("%s has none", (line) => {
    expect(parseLineTime(line, T)).toBeNull();
  });
});
