// @vitest-environment happy-dom
/** A filter that matches no line says how it was read, and what is near. */

import { describe, expect, it } from "vitest";
import { ns, sse, T0, TASK, W0, W1 } from "../helpers.ts";
import { all, feed, find, messages, model, next, page, settle, show, type } from "../page.ts";

page({ now: T0 + 1000, settled: 300 });

const LINES = ["INFO step=50 loss=1.9 lr=0.1", "WARNING step=61 loss=1.6 norm=7", "WARNING step=70 loss=1.5", "DEBUG state=ok val_loss=3", "ERROR lost"];

async function logged(): Promise<void> {
  show();
  await feed(...LINES.map((text, i): [number, 1, string] => [T0 + i, 1, text]));
}

async function status(data: object): Promise<void> {
  model.bytes(sse("status", { task: TASK, seq: next.seq++, ...data }, `c${next.seq}`));
  await settle();
}

const hints = (): string[] => all(".cl-hints > div").map(({ textContent }) => textContent!);

describe("several terms in one line", () => {
  it.each([
    ["loss<1.7 step>60", LINES.slice(1, 3)],
    ["WARNING !norm", [LINES[2]]],
    ["step loss<1.7 -norm", [LINES[2]]],
    ["level≥warning loss<1.6", [LINES[2]]],
  ])("%s", async (text, shown) => {
    await logged();
    await type(text);
    expect(messages()).toEqual(shown);
    // Each becomes a chip, and the chips mean the same.
    find("input[type=search]").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    await settle();
    expect(messages()).toEqual(shown);
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("");
  });
});

describe("a filter without a match", () => {
  it.each([
    ["NOT DEBUG", "contains “NOT DEBUG”", ["Write ! to exclude lines: !DEBUG"]],
    ["loss<abc", "contains “loss<abc”", ["< compares numbers; “abc” is not a number"]],
    ["loss <", "contains “loss <”", ["< compares numbers; “” is not a number"]],
    ["Loss<1.8", "Loss < 1.8", ["No loaded line has a field Loss, but loss: loss<1.8"]],
    ["stop>3", "stop > 3", ["No loaded line has a field stop, but step: step>3"]],
    ["wrong=1", "wrong = 1", ["No loaded line has a field wrong, but step, loss, state"]],
    ["state>1", "state > 1", ["state is not a number: “ok”"]],
    ["level≥error OR NaN", "contains “OR NaN” and level ≥ error", ["OR joins texts only"]],
    ["loss<0.1 OR loss>5", "contains “OR” and loss < 0.1 and loss > 5", ["OR joins texts only"]],
    ["lost OR gone level≥warning !ERROR", "contains “lost” or “gone” and not “ERROR” and level ≥ warning", []],
    ["loss<0 step>60", "loss < 0 and step > 60", []],
    ["level=error", "level = error", ["level is not a field; write: level≥error"]],
    ["level≥bad", "contains “level≥bad”", ["Levels are trace, debug, info, warning, error, critical"]],
    ["Warning", "contains “Warning”", ["A capital letter makes the filter case-sensitive: warning"]],
    ["a->b Map<K>", "contains “a->b Map<K>”", []],
  ])("%s", async (text, reading, expected) => {
    await logged();
    await type(text);
    expect(messages()).toEqual([]);
    expect(find(".cl-empty").textContent).toContain("No line matches");
    expect(find(".cl-read").textContent).toBe(`Read as: ${reading}`);
    expect(hints()).toEqual(expected);
  });

  it("counts none, although gaps stay among the lines", async () => {
    await logged();
    model.bytes(sse("gap", { task: TASK, seq: next.seq++, from: ns(T0 + 1), to: ns(T0 + 2), reason: "rotated away", source: W0 }, `c${next.seq}`));
    await type("Loss<1.8");
    expect(all("[data-notice=gap]")).toHaveLength(1);
    expect([find(".cl-empty").hidden, find(".cl-empty").matches(".cl-under"), hints().length]).toEqual([false, true, 1]);
    expect(find(".cl-found .cl-count").textContent).toBe("0 of 5");
  });

  it("is mended with a click on what to write instead", async () => {
    await logged();
    await type("Loss<1.8");
    all(".cl-hints button")[0].click();
    await settle();
    expect([find<HTMLInputElement>("input[type=search]").value, messages()]).toEqual(["loss<1.8", LINES.slice(1, 3)]);
    expect(find(".cl-empty").hidden).toBe(true);
  });
});

it("a level hides the notices below it, but not the end of a container that has failed", async () => {
  show();
  await feed([T0, 1, "ERROR lost"], [T0 + 1, 1, "INFO fine"]);
  await status({ notice: "ended", time: ns(T0 + 2), source: W0, exit_code: 0, reason: "Completed" });
  await status({ notice: "ended", time: ns(T0 + 3), source: W1, exit_code: 3, reason: "Error" });
  await type("level≥info");
  expect(all("[data-notice=notice]")).toHaveLength(2);
  await type("level≥error");
  expect(messages()).toEqual(["ERROR lost"]);
  expect(all("[data-notice=notice]").map(({ textContent }) => textContent)).toEqual([expect.stringContaining("exit 3")]);
});
