// @vitest-environment happy-dom
/** Sources with a role in the side list: a heading for each role that has several, which folds and switches all of them. */

import { expect, it } from "vitest";
import type { SourceInfo } from "../../src/protocol/events.ts";
import { ns, sse, T0, TASK } from "../helpers.ts";
import { paletteColour } from "../../src/text/colours.ts";
import { all, find, messages, model, next, page, session, settle, show, viewer } from "../page.ts";

page({ now: T0 + 1000, faked: ["performance"] });

const member = (pod: string, role: string, rank?: string, attempt?: string): SourceInfo => ({ pod, container: "main", kind: "main", run: 0, node: "n1", role, rank, attempt });
const HEAD = member("tune-9x2kd-head", "head");
const WORKERS = ["10", "2", "0"].map((rank) => member(`tune-9x2kd-gpu-worker-${rank}f`, "worker", rank));

async function feed(...sources: SourceInfo[]): Promise<void> {
  const rows = sources.flatMap((source, i) => [`${source.role} ${source.rank ?? ""} a`, `${source.role} ${source.rank ?? ""} b`].map((text) => ({ text, s: i + 1 })));
  model.bytes(sse("log", { task: TASK, seq: next.seq, sources: Object.fromEntries(sources.map((source, i) => [i + 1, source])), t0: ns(T0), dt: rows.map((_unused, i) => i * 1e6), s: rows.map(({ s }) => s), m: rows.map(({ text }) => text) }, `c${next.seq}`));
  next.seq += rows.length;
  await settle(500);
}

const side = (): string[] => all(".cl-src").map((row) => `${row.getAttribute("class")!.includes("cl-off") ? "- " : ""}${row.querySelector(".cl-sn")!.textContent}: ${row.querySelector("small")!.textContent}`);
const headings = (): string[] => all(".cl-role .cl-sn").map((name) => name.textContent!);
const press = async (selector: string, row: number): Promise<void> => {
  all(".cl-src")[row].querySelector<HTMLElement>(selector)!.click();
  await settle(500);
};

it("lists them by rank below a heading with their number, and names their lines", async () => {
  show();
  await feed(HEAD, ...WORKERS);
  expect(side()).toEqual(["head: 2", "worker ×3: 6", "worker-0: 2", "worker-2: 2", "worker-10: 2"]);
  expect(headings()).toEqual(["worker ×3"]);
  expect(find(".cl-shead h3").textContent).toBe("4 of 4 sources");
  expect(new Set(all("[data-seq] .cl-s").map(({ textContent }) => textContent))).toEqual(new Set(["head", "worker-10", "worker-2", "worker-0"]));
  expect(all("[data-seq] .cl-s").at(-1)!.title).toBe("tune-9x2kd-gpu-worker-0f · main");
  find(".cl-side").dispatchEvent(new Event("pointerover"));
  expect(all(".cl-src .cl-only")[2].title).toMatch(/^tune-9x2kd-gpu-worker-0f main\nrunning\n/);
});

it("gives each rank its colour, in whatever order the sources come, and the lines and the list the same", async () => {
  const hues = (selector: string): string[] => all(selector).map((one) => one.style.getPropertyValue("--h"));
  const expected = ["worker-0", "worker-2", "worker-10"].map((_unused, i) => String(paletteColour([0, 2, 10][i]).hue));
  for (const order of [WORKERS, WORKERS.toReversed()]) {
    next.seq = 0;
    show();
    await feed(HEAD, ...order);
    expect(hues(".cl-src").slice(2)).toEqual(expected);
    expect(new Set(all("[data-seq] .cl-s").filter(({ textContent }) => textContent === "worker-10").map((one) => one.style.getPropertyValue("--h")))).toEqual(new Set([expected[2]]));
    viewer.close();
    session.close();
  }
});

it("Home leads to the first source below a heading", async () => {
  show();
  await feed(...["a", "b", "c"].map((pod): SourceInfo => ({ pod: "tune", container: pod, kind: "init", run: 0, node: "n1" })));
  expect(find(".cl-item h3").textContent).toBe("init");
  const focus = async (key: string): Promise<string> => {
    document.activeElement!.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await settle();
    return document.activeElement!.closest(".cl-src")!.querySelector(".cl-sn")!.textContent!;
  };
  all(".cl-only")[1].focus();
  const last = await focus("End");
  expect([await focus("Home"), await focus("ArrowUp"), await focus("ArrowDown"), await focus("ArrowDown")]).toEqual([side()[0].split(":")[0], side()[0].split(":")[0], expect.anything(), last]);
});

it("switches a role off and on as a whole, and shows it alone", async () => {
  show();
  await feed(HEAD, ...WORKERS);
  await press("[role=switch]", 1);
  expect(messages()).toEqual(["head  a", "head  b"]);
  expect(side()).toEqual(["head: 2", "- worker ×3: 6", "- worker-0: 2", "- worker-2: 2", "- worker-10: 2"]);
  await settle(1500);
  expect(model.traits.view).toMatchObject({ shown: { pod: HEAD.pod } });
  await press("[role=switch]", 1);
  expect(messages()).toHaveLength(8);
  await press("[role=switch]", 3);
  expect(side()).toEqual(["head: 2", "worker ×3: 6", "worker-0: 2", "- worker-2: 2", "worker-10: 2"]);
  expect(all(".cl-role .cl-only")[0].getAttribute("aria-label")).toBe("worker, 2 of 3 sources shown, 6 lines: show only these");
  await press(".cl-only", 1);
  expect(messages()).toEqual(["worker 10 a", "worker 10 b", "worker 2 a", "worker 2 b", "worker 0 a", "worker 0 b"]);
  await press(".cl-only", 1);
  expect(messages()).toHaveLength(8);
});

it("folds a role, which stays folded when another source of it comes", async () => {
  show();
  await feed(HEAD, ...WORKERS);
  const fold = (): HTMLElement => find(".cl-role .cl-runs");
  expect([fold().textContent, fold().getAttribute("aria-expanded"), fold().title]).toEqual(["▾", "true", "Fold worker"]);
  await press(".cl-runs", 1);
  expect(side()).toEqual(["head: 2", "worker ×3: 6"]);
  expect([fold().textContent, fold().getAttribute("aria-expanded"), fold().title]).toEqual(["▸", "false", "List the sources of worker"]);
  await feed(member("tune-9x2kd-gpu-worker-7c", "worker", "7"));
  expect(side()).toEqual(["head: 2", "worker ×4: 8"]);
  await press("[role=switch]", 1);
  expect(messages()).toEqual(["head  a", "head  b"]);
  await press(".cl-runs", 1);
  expect(side().slice(2)).toEqual(["- worker-0: 2", "- worker-2: 2", "- worker-7: 2", "- worker-10: 2"]);
});

it("the arrow keys go through headings, too", async () => {
  show();
  await feed(HEAD, ...WORKERS);
  const focused = (): string => (document.activeElement as HTMLElement).closest(".cl-src")!.querySelector(".cl-sn")!.textContent!;
  all(".cl-src .cl-only")[0].focus();
  const visited: string[] = [];
  for (let i = 0; i < 3; i++) {
    document.activeElement!.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    visited.push(focused());
  }
  expect(visited).toEqual(["worker ×3", "worker-0", "worker-2"]);
});

it("learns the role of a source that was named without it before", async () => {
  show();
  const [worker] = WORKERS;
  await feed({ ...worker, role: undefined, rank: undefined });
  await feed(worker);
  expect(side()).toEqual(["worker-10: 4"]);
});

it("newest attempt first, each told apart", async () => {
  show();
  await feed(member("train-w-0-aaaaa", "worker", "0", "0"), member("train-w-1-bbbbb", "worker", "1", "0"), member("train-w-0-ccccc", "worker", "0", "1"));
  expect(side()).toEqual(["worker ×3: 6", "worker-0 · attempt 1: 2", "worker-0 · attempt 0: 2", "worker-1: 2"]);
});

it("shows what Python asks for, until the user chooses others", async () => {
  show({ query: { since: "all", role: "worker", rank: "0-3" } });
  await feed(HEAD, ...WORKERS);
  expect(messages()).toEqual(["worker 2 a", "worker 2 b", "worker 0 a", "worker 0 b"]);
  expect(all(".cl-chips .cl-cw").map((chip) => chip.textContent)).toEqual(["role worker", "rank 0-3"]);
  await settle(1500);
  expect(model.traits.view).toMatchObject({ shown: { role: "worker", rank: "0-3" } });
  await press("[role=switch]", 0);
  expect(all(".cl-chips .cl-cw")).toHaveLength(0);
  expect(messages()).toEqual(["head  a", "head  b", "worker 2 a", "worker 2 b", "worker 0 a", "worker 0 b"]);
});

it("the newest attempt is another one when a newer comes", async () => {
  show({ query: { since: "all", attempt: "-1" } });
  await feed(member("train-w-0-aaaaa", "worker", "0", "0"), member("train-w-1-bbbbb", "worker", "1", "0"));
  expect(messages()).toHaveLength(4);
  await feed(member("train-w-0-ccccc", "worker", "0", "1"));
  expect(all("[data-seq] .cl-s").map(({ title }) => title.slice(-12)).toSorted()).toEqual(["bbbbb · main", "bbbbb · main", "ccccc · main", "ccccc · main"]);
});
