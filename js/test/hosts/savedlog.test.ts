// @vitest-environment happy-dom
import { beforeEach, expect, it } from "vitest";
import { savedLog } from "../../src/hosts/savedlog.ts";
import type { SavedView } from "../../src/protocol/update.ts";
import { T0 } from "../helpers.ts";
import { feed, page, session, settle, show, viewer } from "../page.ts";

page({ now: T0 });
beforeEach(() => show());

/** Return what a notebook that is saved now holds. */
async function saved(): Promise<string> {
  let html = "";
  viewer.root.dispatchEvent(new CustomEvent("cortex-logs-save", { detail: (view: Promise<SavedView>) => void view.then((one) => (html = savedLog(one))) }));
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
