import { describe, expect, it } from "vitest";
import { parseAnsi } from "../../src/text/ansi.ts";
import { levelOf, LEVELS } from "../../src/text/level.ts";

describe("terminal codes", () => {
  it("become styles of 16, 256 and true colours", () => {
    expect(parseAnsi("a\u001b[1;31mred\u001b[0m b")).toEqual({ text: "ared b", runs: [[1, "a f1 b"], [4, ""]] });
    expect(parseAnsi("\u001b[38;5;196mx\u001b[39my").runs).toEqual([[0, "a f#255,0,0"], [1, ""]]);
    expect(parseAnsi("\u001b[48;2;1;2;3mx").runs).toEqual([[0, "a g#1,2,3"]]);
    expect(parseAnsi("\u001b[97mx").runs).toEqual([[0, "a f15"]]);
  });

  it("that move, clear or set titles are removed; other control codes are shown", () => {
    expect(parseAnsi("\u001b[2K\u001b[1Aup\u001b]0;title\u0007!").text).toBe("up!");
    expect(parseAnsi("a\u0000b\u0008c\u007fd\u202ee").text).toBe("aNULbBScDELdRLOe");
    expect(parseAnsi("\u001b").text).toBe("");
    expect(parseAnsi("\u001b]8;;unfinished").text).toBe("");
  });

  it("a carriage return keeps what was written last", () => {
    expect(parseAnsi("10%\r50%\r100%\r").text).toBe("100%");
    expect(parseAnsi("windows\r").text).toBe("windows");
  });

  it("only http links are links", () => {
    expect(parseAnsi("\u001b]8;;https://example.org/x\u001b\\go\u001b]8;;\u001b\\").runs).toEqual([[0, "a lhttps://example.org/x"], [2, ""]]);
    expect(parseAnsi("\u001b]8;;javascript:alert(1)\u0007go\u001b]8;;\u0007")).toEqual({ text: "go", runs: [] });
  });
});

it.each([
  ["2026-11-24 14:03:24,518 WARNING trainer: x", "warning"], ['{"level":"error","msg":"x"}', "error"], ["level=debug msg=x", "debug"], ["E1124 14:03:24.5 1 main.go:1] x", "error"],
  ["Traceback (most recent call last):", "error"], ["RuntimeError: loss is NaN", "error"], ["[error] x", "error"], ["warning: x", "warning"], 
  ["FATAL out of memory", "critical"], ["epoch 3 loss=0.1", ""], ["no errors were found", ""], ["the error rate fell", ""], ["\u001b[33mWARN\u001b[0m x", "warning"],
])("level of %s is %s", (text, level) => {
  expect(LEVELS[levelOf(text)]).toBe(level);
});
