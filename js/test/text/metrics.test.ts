import { describe, expect, it } from "vitest";
import cases from "../../../tests/parsing/metrics.json";
import { parseMetrics } from "../../src/text/metrics.ts";

type Case = [line: string, values: Record<string, number | string>, step: number | null];

describe("a line reports the same as in Python", () => {
  it.each(cases as unknown as Case[])("%s", (line, values, step) => {
    const found = parseMetrics(line);
    const got = Object.fromEntries(found.flatMap((one) => one.values));
    const wanted = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, typeof value === "string" ? Number(value.replace("inf", "Infinity")) : value]));
    expect(got).toEqual(wanted);
    // Where the line names no step, an epoch or a bar's count stands for it.
    if (step !== null) expect(found[0].step).toBe(step);
  });
});

describe("metrics", () => {
  it("uses the epoch, else a bar's count, as the step", () => {
    expect(parseMetrics("Epoch 5 | Train Loss: 0.31 | Val Acc: 91.5%")[0]).toMatchObject({ step: 5, epoch: 5 });
    expect(parseMetrics(" 45%|####     | 45/100 [00:12<00:15,  3.60it/s, loss=0.312]")[0].step).toBe(45);
    expect(parseMetrics("loss=0.5")[0].step).toBeNaN();
  });

  it("reads each state of a redrawn bar, and ignores colours", () => {
    expect(parseMetrics("step 1 loss=0.5\rstep 2 loss=0.4").map(({ step, values }) => [step, values[0][1]])).toEqual([[1, 0.5], [2, 0.4]]);
    expect(parseMetrics("\u001b[32mloss\u001b[0m=\u001b[1m0.5\u001b[0m")[0].values).toEqual([["loss", 0.5]]);
  });

  it("is not slowed down by hostile lines", () => {
    for (const text of [" ".repeat(100_000) + "=1", "{".repeat(50_000), "a=".repeat(50_000), `{"a":${"[".repeat(9000)}1}`, "x: 1 | ".repeat(9000), "'".repeat(9000) + "{1}", "loss 1 ".repeat(1100) + "x", "step 1 " + "a b c d ".repeat(1000), "-".repeat(8000) + "x", "loss=1 step" + " ".repeat(8000) + "x", "\0loss=0.5 step=\0 4"]) expect(() => parseMetrics(text)).not.toThrow();
  });
});
