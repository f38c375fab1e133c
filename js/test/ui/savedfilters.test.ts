// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Line } from "../helpers.ts";
import { T0 } from "../helpers.ts";
import { all, feed, find, isShown, messages, model, page, settle, show, type } from "../page.ts";

page({ now: T0 + 1000 });

const KEY = "cortex-jupyter-saved-filters ";
const LINES = ["loss 1", "INFO nan loss", "ERROR other", "DEBUG loss warmup"].map((text, i): Line => [T0 + i, 1, text]);
const dialog = (): HTMLElement => find("[aria-label='Saved filters']");
const menu = (): HTMLElement[] => {
  find("[aria-label='Columns, order and size']").click();
  return all(".cl-display .cl-pop:last-child .cl-menu > *");
};
const savedInMenu = (): string[] => {
  const labels = menu().map(({ textContent }) => textContent);
  find("[aria-label='Columns, order and size']").click();
  return labels.slice(0, labels.indexOf("Columns"));
};
const choose = async (label: string): Promise<void> => {
  menu().find(({ textContent }) => textContent === label)!.click();
  await settle();
};
const rows = (): string[] => [...dialog().querySelectorAll(".cl-words")].map((words) => `${words.previousElementSibling!.textContent}: ${words.textContent}`);
const error = (): string => dialog().querySelector("[role=alert]")!.textContent;
const save = async (name: string): Promise<void> => {
  const input = dialog().querySelector("input")!;
  input.value = name;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  dialog().querySelector("form")!.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  await settle();
};

beforeEach(() => localStorage.clear());
afterEach(() => vi.unstubAllGlobals());

it("a filter is saved under a name, chosen again in another viewer, replaced and deleted", async () => {
  show();
  await feed(...LINES);
  expect(savedInMenu()).toEqual([]);
  await type("loss !warmup level>=info");
  expect(messages()).toEqual(["loss 1", "INFO nan loss"]);
  expect(savedInMenu()).toEqual(["Saved filters", "Save the filter…"]);
  await choose("Save the filter…");
  expect(isShown(dialog())).toBe(true);
  await save("  training   loss ");
  expect(rows()).toEqual(["training loss: “loss”, not “warmup”, level ≥ info"]);

  show();
  await feed(...LINES);
  await type("other");
  await choose("training loss");
  expect(messages()).toEqual(["loss 1", "INFO nan loss"]);
  expect(all(".cl-chips .cl-cw").map(({ textContent }) => textContent)).toEqual(["contains “loss”", "not “warmup”"]);
  expect(find<HTMLInputElement>("input[type=search]").value).toBe("");
  expect(menu().find(({ textContent }) => textContent === "training loss")!.getAttribute("aria-checked")).toBe("true");
  find("[aria-label='Columns, order and size']").click();
  await type("nan");
  expect(messages()).toEqual(["INFO nan loss"]);

  await choose("Save or delete…");
  await save("training loss");
  expect(rows()).toEqual(["training loss: “loss”, “nan”, not “warmup”, level ≥ info"]);
  dialog().querySelector<HTMLElement>("[aria-label='Delete: training loss']")!.click();
  await settle();
  expect([rows(), localStorage.getItem(KEY)]).toEqual([[], "[]"]);
});

it("levels, streams and conditions are saved; the window and the choice of sources are not", async () => {
  show({ query: { since: "5m", where: ["loss<1"], level: "=error", stream: "stderr", pod: "train-1-worker-0", typed: "" } });
  await feed(...LINES);
  await choose("Save the filter…");
  await save("a");
  expect(JSON.parse(localStorage.getItem(KEY)!)).toEqual([{ name: "a", include: [], exclude: [], where: ["loss<1"], level: "=error", stream: "stderr" }]);
  show({ query: { since: "all", typed: "x" }, columns: ["pod"] });
  await choose("a");
  await settle(2000);
  expect(model.traits.view).toMatchObject({ since: "all", where: ["loss<1"], level: "=error", stream: "stderr" });
});

it("names are only shown, and without one nothing is saved", async () => {
  show();
  await feed(...LINES);
  await type("loss");
  await choose("Save the filter…");
  await save("   ");
  expect(error()).toBe("Type a name for the filter.");
  const names = ["<img src=x onerror=alert(1)>", "__proto__", "constructor", "a\u202eb"];
  for (const name of names) await save(name);
  expect(error()).toBe("");
  expect(savedInMenu().slice(1, -1)).toEqual([...names.slice(0, 3), "aRLOb"]);
  expect(document.querySelector("img")).toBeNull();
  await choose("__proto__");
  expect(messages()).toEqual(["loss 1", "INFO nan loss", "DEBUG loss warmup"]);
  await choose("Save or delete…");
  for (let i = names.length; i < 51; i++) await save(`name ${i}`);
  expect([rows().length, error()]).toEqual([50, "50 filters are saved. Delete one first."]);
});

it("what is stored may be anything, or the page may not store", async () => {
  localStorage.setItem(KEY, JSON.stringify([null, 3, {}, { name: 5 }, { name: "good", include: ["loss", 7], level: {} }]));
  show();
  await feed(...LINES);
  expect(savedInMenu()).toEqual(["Saved filters", "good", "Save or delete…"]);
  await choose("good");
  expect(messages()).toEqual(["loss 1", "INFO nan loss", "DEBUG loss warmup"]);
  for (const stored of ["{", '{"a":1}', "null", '"text"']) {
    localStorage.setItem(KEY, stored);
    expect(savedInMenu()).toEqual(["Saved filters", "Save the filter…"]);
  }
  const setItem = (): void => {
    throw new Error("quota exceeded");
  };
  vi.stubGlobal("localStorage", { getItem: () => null, setItem });
  await choose("Save the filter…");
  await save("a");
  expect(error()).toBe("The browser did not store the filters: quota exceeded. Allow this page to store data.");
});
