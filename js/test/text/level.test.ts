/// <reference types="node" />
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { levelOf, LEVELS } from "../../src/text/level.ts";

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
