// @vitest-environment happy-dom
import { beforeEach, expect, it, vi } from "vitest";
import { savedLog } from "../../src/hosts/savedlog.ts";
import type { SavedView } from "../../src/protocol/update.ts";
import { T0 } from "../helpers.ts";
import { feed, page, session, settle, show, viewer } from "../page.ts";

page({ now: T0 });
beforeEach(() => show());

/** Return what a notebook that is saved now holds; "" if it keeps what it held. */
async function saved(): Promise<string> {
  let html = "";
  viewer.root.dispatchEvent(new CustomEvent("cortex-logs-save", { detail: (view: Promise<SavedView>) => void view.then((one) => (html = savedLog(one))).catch(() => {}) }));
  await settle();
  return html;
}

it("is what the reader saw: the filtered lines, up to the last visible one, with their number bounded", async () => {
  await feed(...Array.from({ length: 500 }, (_unused, i): [number, 1, string] => [T0 + i, 1, `line ${String(i).padStart(3, "0")}`]));
  const text = await saved();
  expect(text).toContain("line 499");
  expect(text).toContain("line 300");
  expect(text).not.toContain("line 299");
  expect(text).toContain("The last 200 lines when this notebook was saved");
  session.change({ include: ["line 12"] });
  await settle();
  const filtered = await saved();
  expect(filtered.match(/line 12/g)).toHaveLength(11);
  expect(filtered).toContain("grep=line 12");
  expect(filtered).toContain("10 of 500 lines");
});

it("holds hostile lines as text, and little of long ones", async () => {
  await feed([T0, 1, "<script>alert(1)</script>&amp;"], ...Array.from({ length: 300 }, (_unused, i): [number, 1, string] => [T0 + 1 + i, 1, `\u001b[31m${"<&".repeat(3000)}\u001b[0m`]), [T0 + 400, 1, '"><img onerror=x>']);
  const html = await saved();
  expect(html).toContain("&gt;&lt;img onerror=x&gt;");
  expect(html).not.toMatch(/<(script|img)/);
  expect(html).toContain("more characters");
  expect(html.length).toBeLessThan(300_000);
});

it("is well-formed although lines are cut within an emoji, or hold half of one", async () => {
  session.change({ pretty: true });
  const frames = [`${"x".repeat(499)}😀 the end`, `${"\u001b[1m".repeat(249)}abc😀 the end`];
  await feed(
    [T0, 1, `${"x".repeat(499)}😀 the end`],
    [T0 + 1, 1, '{"message": "half of an emoji: \\ud83d"}'],
    ...["Traceback (most recent call last):", '  File "a.py", line 1, in <module>', ...frames.map((text) => `    ${text.slice(4)}`), "ValueError: x"].map((text): [number, 1, string] => [T0 + 2, 1, text]),
  );
  const html = await saved();
  expect(html).toContain("half of an emoji: \ufffd");
  expect(html).toContain("<details");
  expect(html).not.toMatch(/\p{Cs}/u);
  // The cut emoji is left out. It is counted as hidden.
  expect(html).toContain(`${"x".repeat(499)} … 10 more characters`);
});

it("holds a last traceback that is larger than all that is saved, with fewer of its lines", async () => {
  const frames = Array.from({ length: 150 }, (_unused, i) => [`  File "${"&".repeat(99)}.py", line ${i}, in f`, `    ${"&".repeat(800)}`]).flat();
  await feed([T0, 1, "before"], ...["Traceback (most recent call last):", ...frames, "ValueError: too large"].map((text): [number, 1, string] => [T0 + 1, 1, text]), [T0 + 2, 1, "after"]);
  for (const [exclude, next] of [[["after"], ""], [[], "after"]] as const) {
    session.change({ exclude: [...exclude] });
    await settle();
    const html = await saved();
    expect(html).toContain("ValueError</span>: too large");
    expect(html).toContain("line 0, in f");
    expect(html).toMatch(/… \d+ more lines/);
    expect(html).not.toContain("no lines yet");
    expect(html).toContain(next);
    expect(html.length).toBeLessThan(300_000);
  }
});

it("has the lines that came while the viewer was out of sight", async () => {
  await feed([T0, 1, "seen"]);
  vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  await feed([T0 + 1, 1, "missed"]);
  expect(viewer.root.textContent).not.toContain("missed");
  expect(await saved()).toContain("missed");
});

it("is not replaced by nothing where no loaded line is shown", async () => {
  await feed([T0, 1, "one"]);
  session.change({ include: ["two"] });
  await settle();
  expect(await saved()).toBe("");
});
