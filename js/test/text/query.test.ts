import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { conditionTest, parseConditions, quoteValue } from "../../src/text/conditions.ts";
import { anyOf, compileFilter, describeTerm, parseTerms, patternText, pythonPattern, safeLength } from "../../src/text/query.ts";
import { zoneName } from "../../src/text/format.ts";
import { parseTypedRange, parseTypedTime } from "../../src/text/time.ts";
import { fromPlain, toPlain, toViewTrait } from "../../src/client/settings.ts";

const TABLE = JSON.parse(await readFile(new URL("../../../tests/query/fixtures/where.json", import.meta.url), "utf8")) as { cases: { where: string; yes: string[]; no: string[] }[]; refused: string[] };
const TYPED = JSON.parse(await readFile(new URL("../../../tests/query/fixtures/typed.json", import.meta.url), "utf8")) as { cases: { typed: string; query: Record<string, unknown> }[] };
const none = { include: [], exclude: [], where: [], level: "" };

describe("conditions on fields, as in Python", () => {
  it.each(TABLE.cases)("$where", ({ where, yes, no }) => {
    const matcher = compileFilter({ where: [where] });
    expect([...yes, ...no].filter((line) => matcher.test(line))).toEqual(yes);
  });

  it.each(TABLE.refused)("%o is not a condition", (text) => {
    expect(parseConditions(text)).toBeNull();
    expect(text === "" || compileFilter({ where: [text] }).error !== "").toBe(true);
  });

  it("any value can be quoted", () => {
    for (const value of ["a", 'say "hi"', "back\\slash", "two words", "=", "a and b"]) expect(conditionTest(parseConditions(`x=${quoteValue(value)}`)![0])(JSON.stringify({ x: value })), value).toBe(true);
  });

  it("marks the field with its value", () => {
    expect(compileFilter({ grep: "loss<3", include: ["ep"] }).find("epoch 3 loss=2.13 lr=1")).toEqual([0, 2, 8, 17]);
  });
});

describe("typed terms", () => {
  it.each([
    ["loss", false, false, { include: ["loss"] }],
    ["/a.b/", false, false, { include: ["/a.b/"] }],
    ["a.b", true, false, { include: ["/a.b/"] }],
    ["loss", false, true, { include: ["/loss/c"] }],
    ["Loss", false, true, { include: ["Loss"] }],
    ["!GET /healthz", false, false, { exclude: ["GET /healthz"] }],
    ["loss -healthz -\"GET /\"", false, false, { include: ["loss"], exclude: ["healthz", "GET /"] }],
    ["-/x+/", false, false, { exclude: ["/x+/"] }],
    ["status>=500", false, false, { where: ["status>=500"] }],
    ["a=1 and b~x", false, false, { where: ["a=1 and b~x"] }],
    ['"a=1"', false, false, { include: ["a=1"] }],
    ["loss=", false, false, { include: ["loss="] }],
    ["level >= warn", false, false, { level: "warn" }],
    ["level >= 30", false, false, { where: ["level >= 30"] }],
    ["loss<1.7 step>60", false, false, { where: ["loss<1.7", "step>60"] }],
    ["WARNING !norm", false, false, { include: ["WARNING"], exclude: ["norm"] }],
    ["WARNING !\"grad norm\" loss<1.7 step 3", false, false, { include: ["WARNING", "step 3"], exclude: ["grad norm"], where: ["loss<1.7"] }],
    ["!healthz !probe", false, false, { exclude: ["healthz", "probe"] }],
    ["level≥error loss<1", false, false, { where: ["loss<1"], level: "error" }],
    ["status=500 !healthz", false, false, { exclude: ["healthz"], where: ["status=500"] }],
    ["/a b/ !c", false, false, { include: ["/a b/"], exclude: ["c"] }],
    ["loss OR NaN !norm", false, false, { include: ["/loss|NaN/"], exclude: ["norm"] }],
    ['a.b OR "c d" OR /x+/', false, false, { include: ["/a\\.b|c d|x+/"] }],
    ["/x+/ OR /y+/", false, false, { include: ["/x+|y+/"] }],
    ["/x+/ OR lr", false, false, { include: ["/x+|lr/"] }],
    ["!/x+/ OR /y+/", false, false, { exclude: ["/x+|y+/"] }],
    ["/x OR y/", false, false, { include: ["/x OR y/"] }],
    ["/x/ OR /y/", true, false, { include: ["/x/ OR /y/"] }],
    ["loss OR nan", false, true, { include: ["/loss|nan/c"] }],
    // Typed on the way to another text.
    ["loss OR ", false, false, { include: ["loss"] }],
    [" OR NaN", false, false, { include: ["NaN"] }],
    [" OR ", false, false, {}],
    ["this or that", false, false, { include: ["this or that"] }],
    // What may be a text stays one.
    ["step=3 done", false, false, { include: ["step=3 done"] }],
    ["a != b", false, false, { where: ["a != b"] }],
    ["NOT DEBUG", false, false, { include: ["NOT DEBUG"] }],
    ["loss<abc", false, false, { include: ["loss<abc"] }],
    ["Map<String> a->b", false, false, { include: ["Map<String> a->b"] }],
    ["wow !", false, false, { include: ["wow !"] }],
    ["if x != 3", false, false, { include: ["if x != 3"] }],
    ["level≥ERROR", false, false, { level: "error" }],
    ["", false, false, {}],
  ])("%o", (text, regex, matchCase, found) => {
    expect(parseTerms(text, regex, matchCase)).toEqual({ ...none, ...found });
  });

  it.each(TYPED.cases)("$typed is the same query in Python", ({ typed, query }) => {
    const { include, exclude, where, level } = parseTerms(typed);
    const parameters = { grep: include.map(pythonPattern), exclude: exclude.map(pythonPattern), where, level };
    expect(Object.fromEntries(Object.entries(parameters).filter(([, value]) => value.length > 0))).toEqual(query);
  });

  it("one of several terms: if one is case-sensitive, all are, and a flag in front counts as one behind", () => {
    expect([["foo", "/(?i)Bar/"], ["foo", "bar"], ["foo", "/Bar/i"], ["foo", "Bar"], ["foo", "/bar/c"], ["/(?i)Foo/", "Bar"]].map(anyOf)).toEqual(["/foo|Bar/i", "/foo|bar/", "/foo|Bar/i", "/foo|Bar/", "/foo|bar/c", "/Foo|Bar/"]);
  });

  it.each([["a.b", "(?i)a\\.b"], ["Loss", "Loss"], ["/loss/c", "loss"], ["/a|b/", "(?i)a|b"], ["/x/s", "(?s)x"], ["/(?i)X/c", "(?i)X"]])("%o is Python's %o", (term, pattern) => {
    expect(pythonPattern(term)).toBe(pattern);
  });

  it("a chip shows a text without escapes", () => {
    expect(["loss", "/a\\.b/c", "/a+/", "/(?i)get \\/x/c"].map(describeTerm)).toEqual(["“loss”", "“a.b” Aa", "/a+/", "“get /x”"]);
    expect(["/a\\.b|c/", "/a\\|b/", "/a|b+/"].map(describeTerm)).toEqual(["“a.b” or “c”", "“a|b”", "/a|b+/"]);
  });

  it("names a typed level that the chosen levels exclude", () => {
    expect(compileFilter({ grep: "level>=error", level: "=info" }).error).toBe("level>=error excludes the chosen level info");
    expect(["error", "=critical", "", "debug,error"].map((level) => compileFilter({ grep: "level>=error", level }).error)).toEqual(["", "", "", ""]);
  });

  it("the error names the invalid part", () => {
    expect(compileFilter({ include: ["/(/"], exclude: ["/x/"] }).error).toMatch(/^\/\(\/: /);
  });
});

it("settings survive a round trip", () => {
  const plain = { since: "2026-01-31T12:00:00.000Z", until: "2026-01-31T12:05:00.000Z", grep: ["loss", "/x/"], exclude: ["y"], where: ["a>1"], typed: "z", level: "info", off: ["k"], tail: 5, pretty: false, time: "utc", wrap: true, columns: ["pod", "level"], font_size: 14, match_case: true };
  expect(toPlain(fromPlain(plain))).toEqual(plain);
  expect(toPlain(fromPlain({}))).toEqual({ since: "1m" });
  expect(fromPlain({ font_size: 99, time: "?", columns: ["x"] })).toMatchObject({ fontSize: 20, time: "local", columns: [] });
  expect(toViewTrait(fromPlain({ grep: ["/a/c"], typed: "!b level" }), [], 3, 9)).toMatchObject({ shown: { grep: ["/a/c"], exclude: ["b level"], where: [], level: "" }, first_seq: 3, last_seq: 9 });
});

describe("typed times", () => {
  const now = Date.UTC(2026, 0, 31, 14, 30);
  it.each([
    ["14:03", Date.UTC(2026, 0, 31, 14, 3)], ["14:03:21.5", Date.UTC(2026, 0, 31, 14, 3, 21, 500)], ["23:00", Date.UTC(2026, 0, 30, 23)], ["-5m", now - 300_000], ["- 1h30m", now - 5_400_000],
    ["2026-01-30 08:00", Date.UTC(2026, 0, 30, 8)], ["2026-01-30T08:00:00Z", Date.UTC(2026, 0, 30, 8)], ["2026-01-30T08:00:00+01:00", Date.UTC(2026, 0, 30, 7)],
    ["yesterday 08:00", Date.UTC(2026, 0, 30, 8)], ["Today 8:00", Date.UTC(2026, 0, 31, 8)], ["25:00", null], ["14", null], ["-5", null], ["soon", null], ["", null],
  ])("%o", (text, time) => {
    expect(parseTypedTime(text, now, true)).toBe(time);
  });
});

describe("typed windows", () => {
  const now = Date.UTC(2026, 0, 31, 14, 30);
  const at = (day: number, hour: number, minute = 0): number => Date.UTC(2026, 0, day, hour, minute);
  it.each<[string, number | [number, number] | "all" | null]>([
    ["2h", 7_200_000], ["last 1h 30m", 5_400_000], ["2 d", 172_800_000], ["1w", 604_800_000], ["all", "all"],
    ["10:00 to 10:20", [at(31, 10), at(31, 10, 20)]], ["10:00-10:20", [at(31, 10), at(31, 10, 20)]], ["10:00 – 10:20", [at(31, 10), at(31, 10, 20)]],
    // The last 23:00 was yesterday's.
    ["23:00 to 1:00", [at(30, 23), at(31, 1)]], ["yesterday 23:00 until 1:00", [at(30, 23), at(31, 1)]],
    ["yesterday", [at(30, 0), at(31, 0) - 1]], ["2026-01-30", [at(30, 0), at(31, 0) - 1]], ["2026-01-29 to yesterday", [at(29, 0), at(31, 0) - 1]],
    ["yesterday to 9:00", [at(30, 0), at(30, 9)]], ["yesterday 10:00 to today 9:00", [at(30, 10), at(31, 9)]], ["10:00 to now", [at(31, 10), now]], ["-2h to -1h", [at(31, 12, 30), at(31, 13, 30)]],
    ["10:00", null], ["now", null], ["10:20 to soon", null], ["today to yesterday", null], ["", null], ["10:00 to 10:10 to 10:20", null],
  ])("%s", (text, window) => {
    const [from, until] = Array.isArray(window) ? window : [null, null];
    expect(parseTypedRange(text, now, true)).toEqual(window === null ? null : { since: typeof window === "number" ? window : null, from, until });
  });
});

describe("where clocks change", () => {
  const zone = process.env.TZ;
  beforeAll(() => void (process.env.TZ = "Europe/Berlin"));
  afterAll(() => (zone === undefined ? delete process.env.TZ : void (process.env.TZ = zone)));

  it("a time of day of yesterday is the same on the clock, although the day had 23 hours", () => {
    const now = new Date(2026, 2, 29, 14, 30).getTime();
    expect(parseTypedTime("23:00", now, false)).toBe(new Date(2026, 2, 28, 23, 0).getTime());
    expect(now - parseTypedTime("14:45", now, false)!).toBe(22.75 * 3_600_000);
  });

  it("a day has all of its hours", () => {
    const { from, until } = parseTypedRange("2026-03-29", new Date(2026, 3, 1).getTime(), false)!;
    expect([from, until! + 1]).toEqual([new Date(2026, 2, 29).getTime(), new Date(2026, 2, 30).getTime()]);
  });

  it("the zone is that of the log's time, not today's", () => {
    expect([zoneName(Date.UTC(2026, 0, 31)), zoneName(Date.UTC(2026, 6, 31))]).toEqual(["UTC+1", "UTC+2"]);
  });
});

it.each<[limit: number, terms: string[]]>([
  [0, ["/(a+)+$/", "/((ab)*c)*/", "/(x+x+)+y/", "/(?:a|b|ab)*c/", "/(\\d+\\.){3}/", "/(?<a>b)\\k<a>/", "/(?P<a>b)(?P=a)/", "/(a)\\1/", "/[^](a+)+]/", "/((a|b))+/", "/a*b*c*/", "/(?=(a+)+b)/", "/((a)?(a)?)+b/", "/((?:(a+)+)+)c/"]],
  [500, ["/\\d+\\.\\d+/", "/(?i)a.*b{2,}/", "/(a+|b)?c+/"]],
  [10_000, ["/loss=.*/", "/(ab)+/", "/(?:rank)=(\\d+)/i"]],
  [Infinity, ["(a+)+$", "/error|warn/", "/a{3}b?/", "/[*+(]/", "/\\(\\+\\*/", "/(foo|bar)?/"]],
])("a test without a watchdog is limited to lines of %s characters", (limit, terms) => {
  for (const term of terms) expect([term, safeLength(term)]).toEqual([term, limit]);
});

describe("the term of a pattern", () => {
  it.each([
    [String.raw`/^\s*step\s+\S+\s+loss=\S+\s*$/c`, "step · loss=·"],
    [String.raw`/"GET\s+/api/items/\S+\s+\(\S+ms\)"/c`, "GET /api/items/· (·ms)"],
    [String.raw`/\sdisk\-full\s*$/c`, "disk-full"],
    [String.raw`/name=\S*?\s+said:\s+\S.*?\s+end/c`, "name=· said: ·... end"],
    [String.raw`/^\s*checkpoint\s*$/c`, "checkpoint"],
  ])("%s reads as %s", (term, text) => {
    expect([patternText(term), describeTerm(term)]).toEqual([text, text]);
    // It has no danger in a page that forbids workers.
    expect(safeLength(term)).toBeGreaterThanOrEqual(500);
    expect(compileFilter({ include: [term] }, false).error).toBe("");
  });

  it.each(["/loss=.*/c", String.raw`/a\d+\s+b/c`, String.raw`/step\s+\S+/`, "step", String.raw`/(a|b)\s+c/c`])("%s is another term", (term) => {
    expect(patternText(term)).toBeNull();
  });
});
