/// <reference types="node" />
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { commonLevels, levelMask, levelOf, LEVELS, writeLevels } from "../../src/text/level.ts";

interface Case {
  line: string;
  level: string | null;
}

const cases = JSON.parse(readFileSync(new URL("../../../tests/parsing/lines.json", import.meta.url), "utf8")) as Case[];

it("the table has enough lines", () => expect(cases.length).toBeGreaterThan(50));

it.each([
  ['{"a":{"level":"error"},"level":"info"}', "info"], ['{"msg":"\\"level\\":\\"error\\"","level":"debug"}', "debug"], ['{"severity":"ERROR","level":"info"}', "info"],
  ['{"n":[1,{"level":"error"}]}', ""], ['{"level": 50 , "x":1}', "error"], ['{"level":"info","x":1', "info"], ['{"key":"level","level":"warn"}', "warning"],
])("the fast scan of %s agrees with parsing", (line, level) => expect(LEVELS[levelOf(line)]).toBe(level));

it.each(cases)("the page and Python see one level: $line", ({ line, level }) => expect(LEVELS[levelOf(line)]).toBe(level ?? ""));

it("a filter's levels are from one on, or exactly those that are named", () => {
  const names = (wanted: string): string => LEVELS.filter((_unused, rank) => (levelMask(wanted) >> rank) & 1).join(" ");
  expect(["warn", "info,error", "=info", "error"].map(names)).toEqual(["warning error critical", "info error", "info", "error critical"]);
  expect(["warn", "=info", "error,info", "warning,error,critical", "", "trace"].map((wanted) => writeLevels(levelMask(wanted)))).toEqual(["warning", "=info", "info,error", "warning", "", ""]);
  expect([commonLevels("info", "debug,info,error"), commonLevels("", "=info"), commonLevels("error", "=info"), commonLevels("", "")]).toEqual(["info,error", "=info", "error", ""]);
});
