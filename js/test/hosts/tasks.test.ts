// @vitest-environment happy-dom
/** The list of tasks as a page: its namespace, its rows as they change, and the search in them, with a server that the test plays. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { FoundLine, TaskList, TaskRow } from "../../src/protocol/events.ts";
import { excerpt } from "../../src/ui/tasksearch.ts";
import { TaskTable } from "../../src/ui/tasktable.ts";

const ADDRESS = "https://hub.test/a%40b/cortex/view";
const row = (name: string, more: Partial<TaskRow> = {}): TaskRow => ({ task: `ml:job/${name}`, kind: "job", namespace: "ml", name, state: "running", status: "Running", restarts: 0, started: "2026-01-31T12:00:00Z", finished: null, exit_code: null, pods: 1, ...more });
const line = (seq: number, text: string, more: Partial<FoundLine> = {}): FoundLine => ({ seq, time: `2026-01-31T12:00:${String(seq).padStart(2, "0")}.000000001Z`, pod: "a-x1", container: "main", level: null, text, marks: [], ...more });
const text = (selector: string): string[] => [...document.querySelectorAll(selector)].filter((one) => !(one as HTMLElement).hidden && one.closest("[hidden]") === null).map((one) => one.textContent ?? "");

/** What the server has, and the requests that it got. */
const server = { lists: {} as Record<string, TaskList | { status: number; code: string }>, namespaces: ["default", "ml"] as string[] | null, asked: [] as string[] };
/** Sends an event of the running search; `null` ends the stream. */
let send: (name: string | null, data?: object) => Promise<void>;
let isAborted: () => boolean;

function json(body: object, status = 200): Response {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
}

function respond(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const { pathname, searchParams } = new URL(String(input));
  const path = pathname.split("/cortex/")[1];
  server.asked.push(`${path}?${searchParams}`);
  if (path === "namespaces") return Promise.resolve(json({ namespaces: server.namespaces, default: "default" }));
  if (path === "tasks") {
    const list = server.lists[searchParams.get("namespace")!] ?? { tasks: [] };
    return Promise.resolve("code" in list ? json({ error: { code: list.code, message: `${list.code} says the server`, hint: "a hint" } }, list.status) : json(list));
  }
  const stream = new TransformStream<Uint8Array, Uint8Array>();
  const writer = stream.writable.getWriter();
  send = async (name, data) => {
    // Nobody reads what was stopped.
    void (name === null ? writer.close() : writer.write(new TextEncoder().encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`))).catch(() => {});
    await vi.advanceTimersByTimeAsync(1);
  };
  isAborted = () => init?.signal?.aborted ?? false;
  return Promise.resolve(new Response(stream.readable));
}

async function open(query: string, page: object = { cortexNamespace: "default" }): Promise<void> {
  (globalThis as unknown as { happyDOM: { setURL(url: string): void } }).happyDOM.setURL(`${ADDRESS}${query}`);
  const config = Object.assign(document.createElement("script"), { id: "jupyter-config-data", type: "application/json", textContent: JSON.stringify({ baseUrl: "/a%40b/", cortexJupyter: "1", ...page }) });
  document.head.replaceChildren(config);
  document.body.replaceChildren(document.createElement("main"));
  vi.resetModules();
  await import("../../src/hosts/tasks.ts");
  await vi.advanceTimersByTimeAsync(1);
}

function type(selector: string, value: string, event: "input" | "change"): void {
  const input = document.querySelector<HTMLInputElement>(selector)!;
  input.value = value;
  input.dispatchEvent(new Event(event, { bubbles: true }));
}

async function search(words: string): Promise<void> {
  document.querySelector<HTMLInputElement>("input[type=search]")!.value = words;
  document.querySelector("form")!.dispatchEvent(new Event("submit", { cancelable: true }));
  await vi.advanceTimersByTimeAsync(1);
}

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 31, 12, 5) });
  vi.stubGlobal("fetch", respond);
  localStorage.clear();
  Object.assign(server, { lists: {}, namespaces: ["default", "ml"], asked: [] });
});

afterEach(() => {
  // The page of an ended test asks for nothing more.
  document.body.replaceChildren();
  vi.clearAllTimers();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("asks the cluster of its address, names it and leads back to all", async () => {
  await open("?namespace=ml", { cortexNamespace: "default", cortexCluster: "prod-1", cortexPath: "cortex/clusters/prod-1/" });
  expect(server.asked.map((address) => address.split("?")[0])).toContain("clusters/prod-1/tasks");
  expect(server.asked.filter((address) => !address.startsWith("clusters/prod-1/"))).toEqual([]);
  const heading = document.querySelector("h1")!;
  expect(heading.textContent).toContain(" of prod-1");
  expect(heading.querySelector("a[title='All clusters']")?.getAttribute("href")).toBe("../../view");
});

test("the namespace is chosen from those that may be read, and remembered", async () => {
  server.lists = { default: { tasks: [row("a")] }, ml: { tasks: [row("b")] } };
  await open("");
  expect(text("h1 option")).toEqual(["default", "ml"]);
  expect(text("tbody a")).toEqual(["job/a"]);
  type("h1 select", "ml", "change");
  await vi.advanceTimersByTimeAsync(1);
  expect([location.search, document.title]).toEqual(["?namespace=ml", "Tasks in ml"]);
  expect(text("tbody a")).toEqual(["job/b"]);
  // The address of before named no namespace.
  history.replaceState(null, "", "?");
  dispatchEvent(new PopStateEvent("popstate"));
  await vi.advanceTimersByTimeAsync(1);
  expect(text("tbody a")).toEqual(["job/a"]);
  type("h1 select", "ml", "change");
  await vi.advanceTimersByTimeAsync(1);
  await open("");
  expect(document.querySelector<HTMLSelectElement>("h1 select")!.value).toBe("ml");
  expect(text("tbody a")).toEqual(["job/b"]);
});

test("where namespaces cannot be listed, the name is typed; a remembered one that is gone is forgotten", async () => {
  localStorage.setItem("cortex-jupyter:namespace:https://hub.test/a%40b/cortex/", "gone");
  server.namespaces = null;
  server.lists = { default: { tasks: [row("a")] }, gone: { status: 404, code: "NotFound" }, secret: { status: 403, code: "NotAllowed" } };
  await open("");
  expect(document.querySelector<HTMLInputElement>("h1 input")!.value).toBe("default");
  expect(text("tbody a")).toEqual(["job/a"]);
  type("h1 input", "secret", "change");
  await vi.advanceTimersByTimeAsync(1);
  expect([text("[role=alert]"), text("tbody a")]).toEqual([["NotAllowed says the server · a hint"], []]);
});

test("a namespace that may not be read leads to those that may", async () => {
  server.lists = { default: { status: 403, code: "NotAllowed" }, ml: { tasks: [row("a")] } };
  await open("?namespace=default", { cortexNamespace: "", cortexNamespaces: ["ml", "vision"] });
  const links = (): string[] => [...document.querySelectorAll<HTMLAnchorElement>(".choices a")].map((link) => link.getAttribute("href")!);
  expect([text("[role=alert]"), text("header + p + div p"), links()]).toEqual([["NotAllowed says the server · a hint"], ["You may read logs in:"], ["view?namespace=ml", "view?namespace=vision"]]);
  // The server has said which they are.
  expect(server.asked.filter((one) => one.startsWith("namespaces"))).toEqual([]);
  type("h1 select", "ml", "change");
  await vi.advanceTimersByTimeAsync(1);
  expect([text("tbody a"), text("[role=alert]"), links()]).toEqual([["job/a"], [], []]);
  // It is remembered, and an address that names another one wins.
  await open("", { cortexNamespace: "", cortexNamespaces: ["ml", "vision"] });
  expect([text("tbody a"), document.title]).toEqual([["job/a"], "Tasks in ml"]);
  await open("?namespace=vision", { cortexNamespace: "", cortexNamespaces: ["ml", "vision"] });
  expect([document.title, text("tbody a")]).toEqual(["Tasks in vision", []]);
});

test("without a namespace to show first, one is chosen", async () => {
  localStorage.setItem("cortex-jupyter:namespace:https://hub.test/a%40b/cortex/", "gone");
  server.lists = { gone: { status: 404, code: "NotFound" }, ml: { tasks: [row("a")] } };
  await open("", { cortexNamespace: "", cortexNamespaces: ["ml", "vision"] });
  expect([document.title, text(".choices a"), text("[role=alert]"), text("input[type=search]")]).toEqual(["Choose a namespace", ["ml", "vision"], [], []]);
  expect(document.querySelector<HTMLSelectElement>("h1 select")!.selectedOptions[0].textContent).toBe("choose a namespace");
  const asked = server.asked.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.asked.length).toBe(asked);
  type("h1 select", "ml", "change");
  await vi.advanceTimersByTimeAsync(1);
  expect([location.search, text("tbody a"), text(".choices a"), text("input[type=search]").length]).toEqual(["?namespace=ml", ["job/a"], [], 1]);
});

test("who may read no namespace, or cannot know which, is told so", async () => {
  server.lists = { default: { status: 403, code: "NotAllowed" } };
  server.namespaces = null;
  await open("");
  expect(text("main > div p")).toEqual(["This server cannot know which namespaces you may read. Type the name of yours above."]);
  server.namespaces = [];
  await open("");
  expect(text("main > div p")).toEqual(["You may read logs in no other namespace of this cluster."]);
  // The right is granted meanwhile.
  server.lists = { default: { tasks: [row("a")] } };
  await vi.advanceTimersByTimeAsync(31_000);
  expect([text("main > div p"), text("tbody a")]).toEqual([[], ["job/a"]]);
});

test("the list is fetched again while it is visible, as often as the server allows", async () => {
  server.lists = { default: { tasks: [row("a")], rest_s: 12 } };
  const lists = (): number => server.asked.filter((one) => one.startsWith("tasks")).length;
  await open("?namespace=default");
  expect(lists()).toBe(1);
  await vi.advanceTimersByTimeAsync(11_000);
  expect(lists()).toBe(1);
  server.lists = { default: { tasks: [row("a", { state: "failed", exit_code: 3 }), row("b")] } };
  await vi.advanceTimersByTimeAsync(1500);
  expect(text("tbody a")).toEqual(["job/a", "job/b"]);
  expect(text("tbody tr:first-child td")).toEqual(expect.arrayContaining(["failed", "3"]));
  server.lists = { default: { status: 504, code: "ClusterUnreachable" } };
  await vi.advanceTimersByTimeAsync(2500);
  // What was known stays in sight, and the page asks less and less often.
  expect([text("tbody a").length, text("[role=alert]")[0]]).toEqual([2, "ClusterUnreachable says the server · a hint"]);
  const before = lists();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(lists() - before).toBeLessThan(6);
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  await vi.advanceTimersByTimeAsync(31_000);
  const asked = lists();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(lists()).toBe(asked);
  hidden.mockRestore();
});

test("rows that change keep the focus, the choice and their element", () => {
  const chosen = vi.fn();
  const table = new TaskTable(chosen);
  document.body.append(table.element);
  table.show([row("a"), row("b"), row("c")]);
  const [first] = document.querySelectorAll<HTMLElement>("tbody tr");
  const [, box] = document.querySelectorAll<HTMLInputElement>("tbody input");
  box.checked = true;
  box.dispatchEvent(new Event("change"));
  box.focus();
  table.show([row("new"), row("a", { state: "succeeded" }), row("b")]);
  expect(text("tbody a")).toEqual(["job/new", "job/a", "job/b"]);
  expect(document.querySelectorAll("tbody tr")[1]).toBe(first);
  expect([document.activeElement, table.choice, chosen.mock.lastCall]).toEqual([box, ["ml:job/b"], [["ml:job/b"]]]);
  table.show([row("new")]);
  expect(chosen.mock.lastCall).toEqual([[]]);
  type(".tasks input[type=text]", "FAILED", "input");
  expect([text(".count"), text(".tasks > p")]).toEqual([["0 of 1 tasks"], ["No task has these words in its name or state."]]);
  table.show([row("ok"), row("bad", { state: "failed" }), row("worse", { state: "failed" })]);
  document.querySelector<HTMLInputElement>("th input")!.click();
  expect(table.choice).toEqual(["ml:job/bad", "ml:job/worse"]);
});

test("results come task by task, lead to their lines, and say what was not searched", async () => {
  await open("?namespace=ml");
  await search("out of memory");
  expect(location.search).toBe("?namespace=ml&search=out+of+memory");
  expect(server.asked.at(-1)).toBe("search?namespace=ml&search=out+of+memory&lines=50");
  await send("tasks", { tasks: 3, unrecorded: ["ml:pod/x", "ml:pod/y"], growing: ["ml:job/one"], archive_problem: { code: "ArchiveError", message: "the bucket does not answer" } });
  const lines = Array.from({ length: 7 }, (_, i) => line(i, `step ${i} out of memory`, { marks: [[7, 20]] }));
  await send("lines", { task: "ml:job/one", records: lines.slice(3) });
  await send("lines", { task: "ml:job/one", records: lines.slice(0, 3) });
  await send("task", { task: "ml:job/one", matches: 1200, all: false });
  expect([text(".bar .count"), text("h2")]).toEqual([["1 of 3 tasks searched, 1\u202f200 lines"], ["job/oneat least 1\u202f200 lines"]]);
  // The newest are first.
  expect(text("li .text")).toEqual([6, 5, 4, 3, 2].map((i) => `step ${i} out of memory`));
  expect(text("li mark")).toHaveLength(5);
  const { href, target } = document.querySelector<HTMLAnchorElement>("li a")!;
  expect([new URL(href, ADDRESS).search, target]).toEqual(["?task=ml%3Ajob%2Fone&since=all&at=2026-01-31T12%3A00%3A06.000000001Z&line=6", "_blank"]);
  document.querySelector<HTMLButtonElement>(".more button")!.click();
  expect(text("li .text")).toHaveLength(7);
  expect(new URL(document.querySelector<HTMLAnchorElement>(".more a")!.href, ADDRESS).searchParams.get("typed")).toBe("out of memory");
  await send("task", { task: "ml:job/two", matches: 0, all: true });
  await send("task", { task: "ml:job/bad", matches: 0, all: false, error: { code: "ArchiveDamaged", message: "it is truncated" } });
  await send("done", { tasks: 3, with_matches: 1, matches: 1200, all: false });
  await send(null);
  expect(text("[role=status]")).toEqual(["at least 1\u202f200 lines in 1 of 2 tasks"]);
  expect(text(".notes summary")).toEqual(["1 task could not be searched", "2 tasks without a recording were not searched; opening one records it", "1 task is not being recorded now, so the newest lines may be missing"]);
  expect(text(".notes > p")).toEqual(["Archived tasks were not searched: the bucket does not answer"]);
  expect(text(".notes li")[0]).toBe("ml:job/bad: it is truncated");
  expect(text("tbody a")).toEqual([]);
});

test("a search can be stopped, and says so if it is refused or cut off", async () => {
  await open("?namespace=ml&search=oom&since=1h&task=ml:job/a");
  expect(server.asked).toContain("search?namespace=ml&search=oom&since=1h&task=ml%3Ajob%2Fa&lines=50");
  await send("tasks", { tasks: 9, unrecorded: [], growing: [] });
  await send("task", { task: "ml:job/a", matches: 2, all: true });
  document.querySelector<HTMLButtonElement>(".found .bar button")!.click();
  expect([isAborted(), text("[role=status]")]).toEqual([true, ["Stopped: at least 2 lines in 1 of 1 task; 9 were to be searched"]]);
  await send("task", { task: "ml:job/b", matches: 5, all: true });
  expect(text("h2")).toHaveLength(1);
  await search("loss");
  await send("tasks", { tasks: 2, unrecorded: [], growing: [] });
  await send(null);
  expect(text("[role=status]")).toEqual(["The search was cut off · search again"]);
  await search("worse");
  await send("error", { code: "SearchFailed", message: "the search ended early", hint: "search again" });
  expect(text("[role=status]")).toEqual(["the search ended early · search again"]);
  // Back to the list.
  server.lists = { ml: { tasks: [row("a")] } };
  document.querySelector<HTMLButtonElement>(".scope button")!.click();
  await vi.advanceTimersByTimeAsync(1);
  expect([location.search, text("tbody a"), text(".found")]).toEqual(["?namespace=ml", ["job/a"], []]);
});

test("a search in chosen tasks names them", async () => {
  server.lists = { ml: { tasks: [row("a"), row("b"), row("c")] } };
  await open("?namespace=ml");
  for (const box of [...document.querySelectorAll<HTMLInputElement>("tbody input")].slice(1)) {
    box.checked = true;
    box.dispatchEvent(new Event("change"));
  }
  expect(document.querySelector("input[type=search]")!.getAttribute("aria-label")).toBe("Search in 2 tasks");
  await search("oom");
  expect(server.asked.at(-1)).toBe("search?namespace=ml&search=oom&task=ml%3Ajob%2Fb&task=ml%3Ajob%2Fc&lines=50");
  expect(text(".scope button")).toEqual(["← all tasks", "only in 2 tasks ✕"]);
});

test("a label selector in the address holds for the list and the search, until it is taken away", async () => {
  server.lists = { ml: { tasks: [row("a")] } };
  await open("?namespace=ml&selector=app%3Dx");
  expect(server.asked).toContain("tasks?namespace=ml&selector=app%3Dx&max_age=2");
  await search("oom");
  expect(server.asked.at(-1)).toBe("search?namespace=ml&selector=app%3Dx&search=oom&lines=50");
  await search(" ");
  expect([location.search, text("tbody a")]).toEqual(["?namespace=ml&selector=app%3Dx", ["job/a"]]);
  document.querySelector<HTMLButtonElement>(".scope button")!.click();
  expect(location.search).toBe("?namespace=ml");
});

test("an excerpt shows the first match of a long line, and hides nothing", () => {
  const show = (found: FoundLine): string => excerpt(found).map((node) => (node.nodeName === "MARK" ? `[${node.textContent}]` : node.textContent)).join("");
  expect(show(line(1, `${"x".repeat(500)}oom${"y".repeat(500)}`, { marks: [[500, 503]] }))).toBe(`…${"x".repeat(60)}[oom]${"y".repeat(337)}…`);
  // Python counts a smiley as one.
  expect(show(line(1, "😀 oom", { marks: [[2, 5]] }))).toBe("😀 [oom]");
  expect(show(line(1, "<b>\u001b[31moom\u202e", { marks: [[8, 11], [9, 12]] }))).toBe("<b>[oom]RLO");
});

test("the focus stays in the page's head when a choice redraws it", async () => {
  server.lists = { ml: { tasks: [row("a")] }, default: { tasks: [] } };
  await open("");
  document.querySelector<HTMLSelectElement>("h1 select")!.focus();
  type("h1 select", "ml", "change");
  await vi.advanceTimersByTimeAsync(1);
  expect(document.activeElement).toBe(document.querySelector("h1 select"));
  await search("oom");
  const stop = document.querySelector<HTMLButtonElement>(".found .bar button")!;
  stop.focus();
  stop.click();
  expect(document.activeElement).toBe(document.querySelector("input[type=search]"));
  const list = document.querySelector<HTMLButtonElement>(".scope button")!;
  list.focus();
  list.click();
  expect([location.search, document.activeElement]).toEqual(["?namespace=ml", document.querySelector("input[type=search]")]);
});
