// @vitest-environment happy-dom
import { describe, expect, it, vi } from "vitest";
import { Viewer } from "../../src/ui/viewer.ts";
import { type Line, logEvent, ns, sse, T0, TASK, W0, W1 } from "../helpers.ts";
import { all, feed, find, hub, isShown, loadPanels, messages, model, next, page, session, settle, show, type, viewer } from "../page.ts";

page({ now: T0 });

const status = (): string => find(".cl-foot").textContent ?? "";
const lines = (n: number, from = 0): Line[] => Array.from({ length: n }, (_unused, i): Line => [T0 + (from + i) * 10, ((i % 2) + 1) as 1 | 2, `step ${from + i}`]);

describe("the initial window", () => {
  it.each([[{}, "succeeded", "All"], [{}, "running", "1m"], [{ since: "5m" }, "succeeded", "5m"]])("%o of a task that is %s shows %s", async (query, state, window) => {
    show({ query });
    model.bytes(sse("status", { task: TASK, state, message: "", older: null }));
    await feed(...lines(3));
    expect(find('.cl-time [aria-pressed="true"]').textContent).toBe(window);
  });

  it("draws the volume with the first lines, also when notices came just before", async () => {
    show();
    model.bytes(sse("status", { task: TASK, seq: 0, notice: "started", source: W0, time: ns(T0), message: "" }));
    await settle();
    next.seq = 1;
    await feed(...lines(3));
    expect(find(".cl-h-all").getAttribute("d")).toContain("M");
  });
});

describe("completeness", () => {
  it("lists gaps with reason and remedy, and reports a wrong clock", async () => {
    show();
    await feed(...lines(3));
    model.bytes(`: hb ${ns(T0 + 5000)}\n` + sse("gap", { task: TASK, seq: 3, from: ns(T0), to: ns(T0 + 1000), reason: "rotated away", lines: 12, source: W0, hint: "allow nodes/proxy" }, "c3"));
    await settle();
    expect(find("button.cl-gaps").textContent).toBe("1 gap, 12 lines");
    expect(isShown(find(".cl-missing"))).toBe(false);
    find("button.cl-gaps").click();
    expect(isShown(find(".cl-missing"))).toBe(true);
    expect(find(".cl-missing").textContent).toMatch(/^12 lines of .* are missing, \d\d:\d\d:\d\d to \d\d:\d\d:\d\d: rotated awayallow nodes\/proxy$/);
    expect(status()).toMatch(/clock of the cluster is [45]\.\d s ahead/);
  });

  it("an open list of gaps grows with each gap", async () => {
    show();
    await feed(...lines(3));
    const gap = (seq: number, reason: string): void => model.bytes(sse("gap", { task: TASK, seq, reason, source: W0 }, `c${seq}`));
    gap(3, "rotated away");
    await settle();
    const opener = find<HTMLButtonElement>("button.cl-gaps");
    opener.click();
    const kept = find(".cl-missing > div");
    gap(4, "the node is gone");
    await settle();
    expect(opener.textContent).toBe("2 gaps");
    expect(find(".cl-missing").textContent).toContain("the node is gone");
    await feed(...lines(2, 3));
    // What has not changed is not drawn again: the user may be selecting its text.
    expect(find(".cl-missing > div")).toBe(kept);
  });
});

describe("requests of the viewer", () => {
  it("a download and the page's link name the origin, so that a server of another one refuses", async () => {
    const config = document.createElement("script");
    config.type = "application/json";
    config.id = "jupyter-config-data";
    config.textContent = JSON.stringify({ baseUrl: "/", cortexJupyter: "yes" });
    document.head.append(config);
    show({ origin: "prod", transport: "sse" });
    const fetched = vi.spyOn(globalThis, "fetch").mockImplementation(() => Promise.resolve(new Response(JSON.stringify({ error: { code: "OtherCluster", message: "this server reads another cluster" } }), { status: 409 })));
    await settle();
    find('[title^="Download the log"]').click();
    all('[role="menuitem"]').find(({ textContent }) => textContent === "Text, all")!.click();
    await settle();
    const asked = (): [string, URL][] => fetched.mock.calls.filter(([one]) => String(one).includes("/logs.txt")).map(([one, options]) => [options!.method ?? "GET", new URL(String(one))]);
    expect(asked().map(([method, { searchParams }]) => [method, searchParams.get("origin")])).toEqual([["HEAD", "prod"], ["GET", "prod"]]);
    expect(find(".cl-problem").textContent).toContain("Download failed: this server reads another cluster");
    const link = find('[aria-label="A page of its own"]') as HTMLAnchorElement;
    link.dispatchEvent(new Event("focus"));
    expect(new URL(link.href).searchParams.get("origin")).toBe("prod");
    // The browser follows a plain link and writes the file as it comes. The server names it.
    const followed: [string, string | null][] = [];
    const clicked = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
      followed.push([this.href, this.getAttribute("download")]);
    });
    fetched.mockClear().mockImplementation(() => Promise.resolve(new Response(null)));
    find('[title^="Download the log"]').click();
    all('[role="menuitem"]').find(({ textContent }) => textContent === "Text")!.click();
    await vi.waitFor(() => expect(followed).toHaveLength(1));
    expect(asked().map(([method]) => method)).toEqual(["HEAD"]);
    expect(followed[0]).toEqual([asked()[0][1].href, ""]);
    // A proxy may refuse HEAD. Then the page asks with GET, and does not read the answer.
    let isCancelled = false;
    const log = new ReadableStream({ cancel: () => void (isCancelled = true) });
    fetched.mockClear().mockImplementation((_address, options) => Promise.resolve(options!.method === "HEAD" ? new Response(null, { status: 405 }) : new Response(log)));
    find('[title^="Download the log"]').click();
    all('[role="menuitem"]').find(({ textContent }) => textContent === "Text")!.click();
    await vi.waitFor(() => expect(followed).toHaveLength(2));
    expect([asked().map(([method]) => method), isCancelled]).toEqual([["HEAD", "GET"], true]);
    clicked.mockRestore();
    config.remove();
    fetched.mockRestore();
  });
});

describe("the state as text", () => {
  it("waits for the kernel, then for the container, then is live, then complete", async () => {
    show();
    await settle();
    expect(status()).toContain("Waiting for the kernel");
    model.bytes(sse("status", { task: TASK, state: "pending", message: "Log not available yet: ContainerCreating", older: null }));
    await settle();
    expect(find(".cl-empty").textContent).toContain("Log not available yet: ContainerCreating");
    expect(find(".cl-empty").hidden).toBe(false);
    model.bytes(sse("status", { task: TASK, seq: 100, notice: "state", state: "pending", message: "Log not available yet: ErrImagePull" }, "c"));
    await settle();
    expect(status()).toContain("Log not available yet: ErrImagePull");
    model.bytes(sse("status", { task: TASK, state: "running", message: "" }));
    await feed(...lines(3));
    expect(find(".cl-empty").hidden).toBe(true);
    expect(find("[role=status]").textContent).toBe("Live");
    expect(status()).toContain("3 lines");
    model.bytes(sse("end", { task: TASK, seq: 3, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c"));
    await settle();
    expect(status()).toContain("Job complete exit 0");
    expect(find(".cl-head").textContent).toContain("Complete · exit 0");
    await settle(1500);
    expect(model.traits.status).toEqual({ task: TASK, state: "succeeded", message: "Job complete exit 0", lines: 3, gaps: 0 });
  });

  it("reports a failure with its exit code", async () => {
    show();
    model.bytes(sse("end", { task: TASK, seq: 0, state: "failed", exit_code: 3, message: "Job failed exit 3: Error" }));
    await settle();
    expect(status()).toContain("Job failed exit 3: Error");
  });

  it("shows errors with their hint, and offers to try again", async () => {
    show();
    model.emit("msg:custom", { type: "error", error: { code: "TaskNotFound", message: "There is no task train-1", hint: "See cortex.tasks()" } }, []);
    await settle();
    expect(find(".cl-problem").textContent).toContain("There is no task train-1");
    expect(find(".cl-problem").textContent).toContain("See cortex.tasks()");
    const opened = model.sent.length;
    all(".cl-problem button")[0].click();
    await settle();
    expect(model.sent.slice(opened)).toContainEqual(expect.objectContaining({ type: "open" }));
  });

  it("names a container in notices and gaps as its lines do, by role and rank", async () => {
    show();
    const source = { ...W1, role: "worker", rank: "3" };
    model.bytes(sse("log", { ...logEvent(0, [[T0, 2, "step 1"]]), sources: { 2: source } }, "c1"));
    model.bytes(sse("gap", { task: TASK, seq: 1, from: ns(T0 + 5), to: ns(T0 + 9), reason: "rotated away", lines: 7, source }));
    model.bytes(sse("status", { task: TASK, seq: 2, notice: "ended", time: ns(T0 + 50), source, exit_code: 1, reason: "Error" }));
    await settle();
    expect(find('[data-notice="gap"]').textContent).toContain("7 lines of worker-3 (train-1-worker-1) · main are missing");
    expect(find('[data-notice="notice"]').textContent).toContain("worker-3 (train-1-worker-1) · main ended: exit 1, Error");
  });

  it("shows a gap at its place with its reason, and counts it; notices stand between the lines", async () => {
    show();
    await feed(...lines(2));
    model.bytes(sse("gap", { task: TASK, seq: 2, from: ns(T0 + 5), to: ns(T0 + 9), reason: "rotated away", lines: 2118, source: W1, hint: "Allow nodes/proxy" }));
    model.bytes(sse("status", { task: TASK, seq: 3, notice: "ended", time: ns(T0 + 50), source: W1, exit_code: 1, reason: "Error" }));
    await settle();
    const gap = find('[data-notice="gap"]');
    expect(gap.textContent).toContain("of train-1-worker-1 · main are missing");
    expect(status()).toMatch(/1 gap, 2\s118 lines/);
    gap.querySelector("button")!.click();
    await settle();
    expect(find('[data-notice="gap"]').textContent).toContain("Allow nodes/proxy");
    expect(find('[data-notice="notice"]').textContent).toContain("train-1-worker-1 · main ended: exit 1, Error");
  });
});

describe("hostile lines are text", () => {
  const HOSTILE = [
    "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "a\u0000b", "10%\r90%", "\u001b]8;;javascript:alert(1)\u0007click\u001b]8;;\u0007", "\u001b[2J\u001b[Hcleared",
    '{"message":"<b>bold</b>","x":"\\u001b[31m<i>"}', "see javascript:alert(1) and https://example.org/a?b=c now", "x".repeat(1024 * 1024),
  ];

  it("never markup; a link only to http(s)", async () => {
    show();
    await feed(...HOSTILE.map((text, i): Line => [T0 + i, 1, text]));
    expect(viewer.root.querySelector("img, script, b, i:not(:first-child)")).toBeNull();
    expect(messages().slice(0, 6)).toEqual(["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "aNULb", "▸ 90%  · redrawn", "click", "cleared"]);
    expect(messages()[6]).toContain("<b>bold</b>");
    const links = all(".cl-rows a") as HTMLAnchorElement[];
    expect(links.map((link) => link.getAttribute("href"))).toEqual(["https://example.org/a?b=c"]);
    expect(links[0].rel).toContain("noopener");
    expect(messages()[8]).toHaveLength(4096 + " … 1 044 480 more".length);
    expect(messages()[8]).toMatch(/… 1\s044\s480 more$/);
    all("[data-seq] .cl-m")[8].click();
    await settle();
    expect(messages()[8]).toMatch(/^x{32768} … 1\s015\s808 more characters\nCopy the whole line Open it as a page$/);
  });

  it("a JSON line takes one row and opens as a tree", async () => {
    show();
    await feed([T0, 1, '{"level":"info","message":"saved","bytes":12,"meta":{"ok":true}}']);
    expect(messages()[0]).toBe('▸ INFO saved  bytes=12  meta={"ok":true}');
    find("[data-seq] .cl-m").click();
    await settle();
    expect(find(".cl-tree").textContent).toContain("ok: true");
    session.change({ pretty: false });
    await settle();
    expect(messages()[0]).toContain('"level":"info"');
  });
});

describe("filtering while lines arrive", () => {
  it("text, marks, counts; and later lines", async () => {
    show();
    await feed(...lines(30));
    await type("step 2");
    expect(messages()).toEqual(["step 2", ...Array.from({ length: 10 }, (_unused, i) => `step ${20 + i}`)]);
    expect(all("[data-seq]")[0].querySelectorAll("mark")).toHaveLength(2);
    expect([...all("[data-seq]")[0].querySelectorAll("mark")].map((mark) => mark.textContent).join("")).toBe("step 2");
    expect(find(".cl-filter").textContent).toContain("11 of 30");
    await feed([T0 + 900, 1, "step 2000"], [T0 + 901, 1, "other"]);
    expect(messages().at(-1)).toBe("step 2000");
    expect(status()).toContain("12 of 32 lines");
    find<HTMLInputElement>("input[type=search]").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await settle();
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("");
    expect(status()).toContain("32 lines");
  });

  it("an invalid regular expression is reported in place", async () => {
    show();
    await feed(...lines(3));
    await type("/(/");
    expect(find("[role=alert].cl-le").textContent).toMatch(/group/i);
    expect(messages()).toHaveLength(3);
  });

  it("a source's switch has its name and hides its lines", async () => {
    show();
    await feed(...lines(4));
    await settle(300);
    const [first] = all("[role=switch]");
    expect(first.textContent).toContain("worker-0");
    expect(first.textContent).toContain(W0.pod);
    expect(first.getAttribute("aria-label")).toContain(W0.pod);
    first.click();
    await settle(300);
    expect(messages()).toEqual(["step 1", "step 3"]);
    expect(all("[role=switch]")[0].getAttribute("aria-checked")).toBe("false");
    await settle(1500);
    expect(model.traits.view).toMatchObject({ since: "all", shown: { pod: W1.pod }, first_seq: 1, last_seq: 3 });
  });

  it("starts with Python's query", async () => {
    show({ query: { since: "all", grep: "step 1", timestamps: false, container: "main" } });
    await feed(...lines(12));
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("step 1");
    expect(messages()).toEqual(["step 1", "step 10", "step 11"]);
    expect(viewer.root.classList.contains("cl-notime")).toBe(true);
  });
});

describe("following", () => {
  const rows = (): HTMLElement => find(".cl-rows");

  it("ends with the wheel, survives new lines, and starts again with the pill", async () => {
    show();
    await feed(...lines(200));
    expect(messages().at(-1)).toBe("step 199");
    rows().dispatchEvent(new WheelEvent("wheel", { deltaY: -100 }));
    await settle();
    expect(status()).toContain("Paused");
    const before = messages();
    await feed(...lines(100, 200));
    expect(messages().slice(0, before.length)).toEqual(before);
    find(".cl-pill").click();
    await settle();
    expect(status()).toContain("Live");
    expect(messages().at(-1)).toBe("step 299");
  });

  it("older lines that are inserted above do not move the row being read", async () => {
    show();
    model.bytes(sse("status", { task: TASK, state: "running", message: "", older: "o1" }));
    next.seq = 1000;
    await feed(...lines(200, 1000));
    viewer.root.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
    await settle();
    const ask = model.sent.find(({ type: kind }) => kind === "page")!;
    expect(ask).toMatchObject({ task: TASK, query: { before: "o1", limit: 2000, since: "all" } });
    expect(find('[data-notice="edge"]').textContent).toBe("Loading older lines…");
    const first = messages()[0];
    const records = lines(500).map(([ms, , text], seq) => ({ seq, time: new Date(ms).toISOString(), pod: W0.pod, container: "main", run: 0, stream: "stdout", text, level: "" }));
    model.emit("msg:custom", { type: "page", id: ask.id, page: { records, notices: [], older: null } }, []);
    await settle();
    expect(messages()).toContain(first);
    const top = all(".cl-sheet > *").findIndex((row) => row.textContent?.includes(first));
    expect(top).toBeLessThanOrEqual(1);
    viewer.root.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
    await settle();
    expect(find('[data-notice="edge"]').textContent).toBe("Beginning of the log");
    expect(messages()[0]).toBe("step 0");
  });

  it("keys act only inside the viewer, and do not reach the notebook", async () => {
    show();
    await feed(...lines(3));
    const outside = vi.fn();
    document.body.addEventListener("keydown", outside);
    const times: string[] = [];
    for (let i = 0; i < 5; i++) {
      rows().dispatchEvent(new KeyboardEvent("keydown", { key: "t", bubbles: true }));
      await settle();
      times.push(viewer.root.classList.contains("cl-notime") ? "off" : all("[data-seq] .cl-t")[2].textContent!);
    }
    expect(times.slice(0, 4)).toEqual(["22:13:20.020", "+00:00.020", "+00:00.010", "off"]);
    expect(times[4]).toMatch(/^\d\d:13:20\.020$/);
    expect(outside).not.toHaveBeenCalled();
    rows().dispatchEvent(new KeyboardEvent("keydown", { key: "x", bubbles: true }));
    expect(outside).toHaveBeenCalledTimes(1);
  });

  it("JupyterLab's own shortcuts work with Ctrl, Alt and Meta only", async () => {
    show();
    await feed(...lines(3));
    const suppressed = (init: KeyboardEventInit): boolean => {
      rows().dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...init }));
      return rows().hasAttribute("data-lm-suppress-shortcuts") && viewer.root.hasAttribute("data-lm-suppress-shortcuts");
    };
    rows().focus();
    const keys = [{ key: "x" }, { key: "s", ctrlKey: true }, { key: "ArrowUp" }, { key: "s", metaKey: true }, { key: "f", ctrlKey: true }, { key: "Enter", altKey: true }];
    expect(keys.map(suppressed)).toEqual([true, false, true, false, true, false]);
  });

  it.each([["closed", () => viewer.close()], ["taken out of the page", () => viewer.root.remove()]])("a viewer that was %s with the focus in it leaves the page's keys alone", async (_how, end) => {
    show();
    await feed(...lines(3));
    rows().focus();
    // Not every browser sends an event for an element that loses the focus because it is removed.
    vi.spyOn(viewer.root, "dispatchEvent").mockReturnValue(true);
    rows().dispatchEvent = () => true;
    end();
    const cell = document.createElement("textarea");
    document.body.append(cell);
    cell.dispatchEvent(new KeyboardEvent("keydown", { key: "x", bubbles: true }));
    expect(cell.hasAttribute("data-lm-suppress-shortcuts")).toBe(false);
    cell.remove();
  });
});

describe("an error of the page", () => {
  it("stays beside a problem of the connection until it is dismissed", async () => {
    show();
    await feed(...lines(3));
    viewer.showError("Could not copy: no permission");
    expect(find(".cl-problem").hidden).toBe(false);
    expect(find(".cl-problem").textContent).toContain("no permission");
    model.bytes(sse("error", { task: TASK, code: "NotAllowed", message: "may not read", hint: "ask for pods/log" }));
    await settle();
    expect(find(".cl-problem").textContent).toContain("may not read");
    viewer.showError("Could not copy: no permission");
    expect(find(".cl-problem").textContent).toContain("may not read");
    expect(find(".cl-problem").textContent).toContain("no permission");
    find('.cl-problem [title="Dismiss"]').click();
    expect(find(".cl-problem").textContent).not.toContain("no permission");
    expect(find(".cl-problem").textContent).toContain("may not read");
  });

  it("goes when it is dismissed", async () => {
    show();
    await feed(...lines(3));
    viewer.showError("Could not copy: no permission");
    find('.cl-problem [title="Dismiss"]').click();
    await feed(...lines(3, 3));
    expect(find(".cl-problem").hidden).toBe(true);
  });
});

it("a note that is being written stays when the user clicks elsewhere", async () => {
  show();
  await feed(...lines(5));
  find("[data-seq] .cl-t").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  find("[role=log]").dispatchEvent(new KeyboardEvent("keydown", { key: "m", bubbles: true }));
  const input = find<HTMLInputElement>(".cl-prompt input");
  input.dispatchEvent(new Event("blur"));
  expect(find<HTMLDialogElement>(".cl-prompt").open).toBe(false);
  find("[role=log]").dispatchEvent(new KeyboardEvent("keydown", { key: "m", bubbles: true }));
  input.value = "the loss jumps here";
  input.dispatchEvent(new Event("blur"));
  expect(find<HTMLDialogElement>(".cl-prompt").open).toBe(true);
  input.form!.requestSubmit();
  await settle();
  expect(session.bookmarks.map(({ note }) => note)).toEqual(["the loss jumps here"]);
});

it("the focus stays on the button of a row that is opened", async () => {
  show();
  await feed([T0, 1, '{"level": "info", "message": "saved", "step": 3}'], ...lines(3, 1));
  for (const isOpen of ["true", "false"]) {
    find("button.cl-tw").focus();
    find("button.cl-tw").click();
    await settle();
    expect(document.activeElement).toBe(find("button.cl-tw"));
    expect(document.activeElement?.getAttribute("aria-expanded")).toBe(isOpen);
  }
});

it("several views of a model share its settings and one stream; closing the last affects no other model", async () => {
  show();
  const second = new Viewer(hub, session, loadPanels);
  session.views.add(second);
  document.body.append(second.root);
  await feed(...lines(12));
  expect(model.sent.filter(({ type: kind }) => kind === "open")).toHaveLength(1);
  await type("step 11");
  expect([...second.root.querySelectorAll("[data-seq] .cl-m")].map((element) => element.textContent)).toEqual(["step 11"]);
  second.close();
  session.views.delete(second);
  await feed([T0 + 500, 1, "step 11 again"]);
  expect(messages()).toEqual(["step 11", "step 11 again"]);
});
