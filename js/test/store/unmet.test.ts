import { expect, it } from "vitest";
import { fromPlain } from "../../src/client/settings.ts";
import { Selection } from "../../src/store/selection.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { explainUnmet } from "../../src/store/unmet.ts";
import { filterTerms } from "../../src/text/query.ts";
import { type Line, logEvent, T0, TASK } from "../helpers.ts";

function explain(typed: string, lines: string[]): ReturnType<typeof explainUnmet> {
  const store = new TaskStore(TASK);
  store.addLog(logEvent(0, lines.map((text, i): Line => [T0 + i, 1, text])));
  const { filter } = fromPlain({ since: "all", typed });
  return explainUnmet(new Selection([store], filter), filterTerms(filter));
}

it("finds the nearest of very many fields", () => {
  const names = Array.from({ length: 150_000 }, (_unused, i) => `f${i.toString(36)}=1`);
  const lines = Array.from({ length: 1000 }, (_unused, i) => names.slice(i * 150, (i + 1) * 150).join(" "));
  expect(explain("learning_rate>1", [...lines, "Learning_Rate=1"]).fields).toEqual([expect.objectContaining({ name: "learning_rate", near: ["Learning_Rate"] })]);
});

it("reads a bounded part of very long lines, the newest first", () => {
  const long = `${"x".repeat(27_000)} end=1`;
  const lines = ["Loss=2", ...Array.from({ length: 200 }, () => long)];
  expect(explain("loss>1", lines).fields).toEqual([{ name: "loss", near: [], common: ["end"] }]);
  expect(explain("loss>1", [...lines, "Loss=2"]).fields).toEqual([expect.objectContaining({ near: ["Loss"] })]);
  expect(explain("END", lines).inOtherCase).toEqual(["END"]);
});
