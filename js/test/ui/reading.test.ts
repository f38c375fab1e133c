// @vitest-environment happy-dom
import { describe, expect, it, vi } from "vitest";
import { phasesOf } from "../../src/ui/phases.ts";
import { TimeBar } from "../../src/ui/timebar.ts";
import { type Line, ns, sse, T0, TASK, W0, W1 } from "../helpers.ts";
import { all, feed, find, isShown, messages, model, next, page, session, settle, show, type, viewer } from "../page.ts";

page({ now: T0 + 1_000_000 });

const picked = (): string[] => all(".cl-picked .cl-m").map((element) => element.textContent ?? "");
const chips = (): string[] => all(".cl-chips .cl-cw").map((element) => element.textContent ?? "");
const named = (label: string): HTMLElement => all("button").find((one) => one.getAttribute("aria-label") === label || one.textContent === label)!;
const lines = (n: number, text: (i: number) => string): Line[] => Array.from({ length: n }, (_unused, i): Line => [T0 + i * 1000, ((i % 2) + 1) as 1 | 2, text(i)]);

async function status(data: object): Promise<void> {
  model.bytes(sse("status", { task: TASK, seq: next.seq++, ...data }, `c${next.seq}`));
  await settle();
}

async function key(name: string, more: KeyboardEventInit = {}, target: HTMLElement = find(".cl-rows")): Promise<void> {
  target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true, ...more }));
  await settle();
}

const enter = (): Promise<void> => key("Enter", {}, find("input[type=search]"));

describe("chips", () => {
  it("Enter makes them, several apply at once, and each can be inverted, edited and removed", async () => {
    show();
    await feed(...lines(40, (i) => `step=${i} ${i % 2 ? "odd" : "even"} GET /healthz`.slice(0, i % 10 === 0 ? 99 : 12)));
    await type("odd");
    await enter();
    await type("step>=30");
    await enter();
    await type("!step=35");
    expect(messages()).toEqual(["step=31 odd ", "step=33 odd ", "step=37 odd ", "step=39 odd "].map((text) => text));
    await enter();
    expect(chips()).toEqual(["contains “odd”", "not “step=35”", "step ≥ 30"]);
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("");
    named("step ≥ 30: invert, edit or remove").click();
    named("Invert").click();
    await settle();
    expect(chips()).toContain("step < 30");
    expect(messages()[0]).toBe("step=1 odd G");
    named("contains “odd”: invert, edit or remove").click();
    named("Edit").click();
    await settle();
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("odd");
    for (const chip of chips()) named(`Remove: ${chip}`).click();
    await type("");
    expect(messages()).toHaveLength(Math.min(40, messages().length));
    await settle(1500);
    expect(model.traits.view).toMatchObject({ shown: { grep: [], exclude: [], where: [] } });
  });

  it("two become one of which either matches; a stream is chosen in the menu", async () => {
    show();
    await feed(...["loss 1", "nan 2", "loss nan 3", "other"].map((text, i): Line => [T0 + i, 1, text]));
    for (const text of ["loss", "nan"]) {
      await type(text);
      await enter();
    }
    expect(messages()).toEqual(["loss nan 3"]);
    named("contains “loss”: invert, edit or remove").click();
    named("Or “nan”").click();
    await settle();
    expect(chips()).toEqual(["contains “loss” or “nan”"]);
    expect(messages()).toEqual(["loss 1", "nan 2", "loss nan 3"]);
    await settle(1500);
    expect(model.traits.view).toMatchObject({ shown: { grep: ["/loss|nan/"] } });
    named("Columns, order and size").click();
    named("stderr").click();
    await settle();
    expect(chips()).toContain("stream stderr");
    expect(messages()).toEqual([]);
  });

  it("arrows in the box lead through earlier filters", async () => {
    localStorage.clear();
    show();
    await feed([T0, 1, "a"]);
    for (const text of ["first", "second", "first"]) {
      await type(text);
      await enter();
    }
    const input = find<HTMLInputElement>("input[type=search]");
    const arrow = async (name: string): Promise<string> => {
      await key(name, {}, input);
      return input.value;
    };
    expect([await arrow("ArrowUp"), await arrow("ArrowUp"), await arrow("ArrowUp"), await arrow("ArrowDown"), await arrow("ArrowDown")]).toEqual(["first", "second", "second", "first", ""]);
  });

  it("arrows bring back an unfinished text, and begin anew after a chip's Edit", async () => {
    localStorage.clear();
    show();
    await feed([T0, 1, "a"]);
    const input = find<HTMLInputElement>("input[type=search]");
    await type("draft");
    await key("ArrowUp", {}, input);
    expect(input.value).toBe("draft");
    for (const text of ["first", "second"]) {
      await type(text);
      await enter();
    }
    await type("draft");
    for (const value of ["second", "first"]) {
      await key("ArrowUp", {}, input);
      expect(input.value).toBe(value);
    }
    for (const value of ["second", "draft"]) {
      await key("ArrowDown", {}, input);
      expect(input.value).toBe(value);
    }
    await key("ArrowUp", {}, input);
    await key("ArrowUp", {}, input);
    named("contains “second”: invert, edit or remove").click();
    named("Edit").click();
    await settle();
    await key("ArrowUp", {}, input);
    expect(input.value).toBe("second");
  });

  it("an earlier filter is a regular expression or case-sensitive, if it was", async () => {
    localStorage.clear();
    show();
    await feed(...["loss 1", "LOSS 2", "l.ss 3"].map((text, i): Line => [T0 + i, 1, text]));
    const input = find<HTMLInputElement>("input[type=search]");
    const recall = async (): Promise<string[]> => {
      await enter();
      for (const chip of chips()) named(`Remove: ${chip}`).click();
      await settle();
      await key("ArrowUp", {}, input);
      return [input.value, ...messages()];
    };
    named("Regular expression").click();
    await settle();
    await type("!l.ss [2-3]");
    expect(await recall()).toEqual(["!/l.ss [2-3]/", "loss 1"]);
    await type("loss");
    named("Match case").click();
    await settle();
    await enter();
    named("Match case").click();
    expect(await recall()).toEqual(["/loss/c", "loss 1"]);
  });

  it("Or joins only texts, and keeps their case", async () => {
    show({ query: { since: "all", grep: ["foo", "/(?i)Bar/", "/b(a)\\1/"] } });
    await feed(...["FOO bar baa", "foo", "BAR", "x"].map((text, i): Line => [T0 + i, 1, text]));
    named("contains /b(a)\\1/: invert, edit or remove").click();
    expect(all("button").filter(({ textContent }) => textContent.startsWith("Or ")).map(({ textContent }) => textContent)).toEqual([]);
    named("Remove: contains /b(a)\\1/").click();
    await settle();
    named("contains “foo”: invert, edit or remove").click();
    named("Or “Bar”").click();
    await settle();
    expect(messages()).toEqual(["FOO bar baa", "foo", "BAR"]);
  });

  it("each level by itself, or from one on", async () => {
    show();
    await feed(...["ERROR x", "WARN y", "INFO z", "plain", "DEBUG d", "CRITICAL c"].map((text, i): Line => [T0 + i, 1, text]));
    const levels = (): HTMLElement => find(".cl-pop > .cl-chip");
    const choose = async (label: string): Promise<void> => {
      if (!isShown(find(".cl-filter .cl-menu"))) levels().click();
      all(".cl-filter .cl-menu button").find(({ textContent }) => textContent === label)!.click();
      await settle();
    };
    await choose("info");
    expect([messages(), levels().textContent]).toEqual([["ERROR x", "WARN y", "DEBUG d", "CRITICAL c"], "debug, warning, error"]);
    // The menu stays open, so that several levels can be chosen.
    await choose("debug");
    expect([messages(), levels().textContent]).toEqual([["ERROR x", "WARN y", "CRITICAL c"], "level ≥ warning"]);
    await choose("error");
    expect([messages(), levels().textContent, levels().getAttribute("aria-label")]).toEqual([["WARN y"], "warning", "warning: choose levels"]);
    await type("level>=error");
    expect(messages()).toEqual(["ERROR x", "CRITICAL c"]);
    await type("");
    await choose("All levels");
    expect([messages().length, levels().textContent]).toEqual([6, "all levels"]);
  });

  it("case sensitivity, a level, and an error in place", async () => {
    show();
    await feed(...["Loss", "loss", "ERROR x", "WARN y"].map((text, i): Line => [T0 + i, 1, text]));
    await type("loss");
    expect(messages()).toHaveLength(2);
    named("Match case").click();
    await settle();
    expect(messages()).toEqual(["loss"]);
    await enter();
    expect(chips()).toEqual(["contains “loss” Aa"]);
    named("Remove: contains “loss” Aa").click();
    named("Match case").click();
    await type("level>=warning");
    expect(messages()).toEqual(["ERROR x", "WARN y"]);
    await enter();
    expect(find(".cl-pop > .cl-chip").textContent).toBe("level ≥ warning");
    await type("/(/");
    await enter();
    expect(find("[role=alert].cl-le").textContent).toMatch(/^\/\(\/: .*group/i);
    expect(chips()).toEqual([]);
  });

  it("Python's query becomes chips, several of a kind too", async () => {
    show({ query: { since: "all", grep: ["/a/c", "/b/c"], exclude: ["/x+/c"], where: ["n>1"] } });
    await feed([T0, 1, "a b n=2"], [T0 + 1, 1, "A b n=2"], [T0 + 2, 1, "a b x n=2"], [T0 + 3, 1, "a b n=1"]);
    expect(messages()).toEqual(["a b n=2"]);
    expect(chips()).toEqual(["contains “a” Aa", "contains “b” Aa", "not /x+/", "n > 1"]);
  });
});

describe("a line's own time and level", () => {
  it("h hides and shows them; a copied line has them", async () => {
    show();
    await feed([T0, 1, `${new Date(T0).toISOString()} INFO trainer: step 1`]);
    const writeText = vi.fn(() => Promise.resolve());
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    await key("h");
    expect(viewer.root.classList.contains("cl-trim")).toBe(true);
    expect(model.traits.trim).toBe(true);
    find(".cl-t").click();
    await key("y");
    expect(writeText).toHaveBeenCalledWith(`${new Date(T0).toISOString()} INFO trainer: step 1\n`);
    vi.unstubAllGlobals();
    await key("h");
    expect(viewer.root.classList.contains("cl-trim")).toBe(false);
  });

  it("the column of times shows the same only as a time of day", async () => {
    show({ trim: true });
    const shows: boolean[] = [];
    for (const time of ["local", "utc", "start", "delta", "off"] as const) {
      session.change({ time });
      await settle();
      shows.push(viewer.root.matches(".cl-trim.cl-clock"));
    }
    expect(shows).toEqual([true, true, false, false, false]);
  });
});

describe("time", () => {
  const DAY = 86_400_000;
  const dividers = (): [string | undefined, string][] => all(".cl-divided").map((row) => [row.dataset.divider, row.querySelector(".cl-m")!.textContent]);

  it("the first line of each day has the day above it, if the log spans days; the status bar has the day of what is read", async () => {
    show({ time: "utc" });
    await feed([T0, 1, "a"], [T0 + 1000, 1, "b"]);
    expect(dividers()).toEqual([]);
    expect(find(".cl-foot").textContent).toContain("via kernelUTC");
    await feed([T0 + DAY, 1, "c"], [T0 + DAY + 1000, 1, "d"], [T0 + 3 * DAY, 1, "e"]);
    expect(dividers()).toEqual([["Tue, Nov 14", "a"], ["Wed, Nov 15", "c"], ["Fri, Nov 17", "e"]]);
    session.change({ newestFirst: true });
    await settle(1000);
    expect(dividers()).toEqual([["Wed, Nov 15", "d"], ["Tue, Nov 14", "b"]]);
    expect(find(".cl-foot").textContent).toContain("via kernelFri, Nov 17UTC");
  });

  it("a window that has no button is typed", async () => {
    show({ time: "utc" });
    await feed([T0, 1, "a"], [T0 + 60_000, 1, "b"], [T0 + 120_000, 1, "c"]);
    const button = find("[title^='Another window']");
    const typed = async (text: string): Promise<void> => {
      button.click();
      const input = find<HTMLInputElement>(".cl-prompt input");
      input.value = text;
      input.form!.requestSubmit();
      await settle();
    };
    const other = (): [string, string | null] => [button.textContent, button.getAttribute("aria-pressed")];
    expect(other()).toEqual(["…", "false"]);
    // T0 is at 22:13:20.
    await typed("22:14 to 22:15");
    expect(messages()).toEqual(["b"]);
    expect(find<HTMLDialogElement>(".cl-prompt").open).toBe(false);
    expect(chips()).toEqual(["22:14:00 to 22:15:00"]);
    expect(other()).toEqual(["…", "true"]);
    await typed("2h");
    expect(messages()).toEqual(["a", "b", "c"]);
    expect(other()).toEqual(["2h", "true"]);
    expect(session.settings.filter.since).toBe(7_200_000);
    await typed("soon");
    expect(find(".cl-prompt [role=alert]").textContent).toMatch(/^write a window such as/);
    await typed("yesterday");
    expect(messages()).toEqual([]);
    expect(chips()).toEqual(["Mon, Nov 13 00:00 to 23:59"]);
  });

  it("the bar of picked lines has the time between them", async () => {
    show();
    await feed([T0, 1, "a"], [T0 + 250, 1, "b"], [T0 + 4321, 1, "c"], [T0 + 125_000, 1, "d"]);
    const [a, b, c, d] = all(".cl-t");
    a.click();
    expect(find(".cl-pickbar").textContent).toMatch(/^1 line pickedCopy/);
    for (const [end, words] of [[b, "2 lines picked, Δt 250 ms"], [c, "3 lines picked, Δt 4.321 s"], [d, "4 lines picked, Δt 2 m 5 s"]] as const) {
      end.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
      expect(find(".cl-pickbar > span").textContent).toBe(words);
    }
  });

  it("what came during an absence is new, what came before and after is not", async () => {
    const now = T0 + 1_000_000;
    show();
    const hide = async (isHidden: boolean): Promise<void> => {
      vi.spyOn(document, "hidden", "get").mockReturnValue(isHidden);
      document.dispatchEvent(new Event("visibilitychange"));
      await settle();
    };
    await feed([now, 1, "seen"]);
    await hide(true);
    await settle(60_000);
    await feed([now + 30_000, 1, "missed"], [now + 31_000, 1, "missed too"]);
    await hide(false);
    expect(dividers()).toEqual([["New since you looked", "missed"]]);
    await hide(true);
    await settle(60_000);
    await hide(false);
    await feed([Date.now() + 1000, 1, "watched"]);
    expect(dividers()).toEqual([]);
  });

  it("lines that came while the user read older ones are new, too", async () => {
    show();
    const now = T0 + 1_000_000;
    await feed(...lines(60, (i) => `old ${i}`).map(([, source, text], i): Line => [now - 100_000 + i, source, text]));
    await key("F");
    await settle(20_000);
    await feed([now + 10_000, 1, "missed"], [now + 11_000, 1, "missed too"]);
    await key("G");
    expect(dividers()).toEqual([["New since you looked", "missed"]]);
  });
});

describe("context", () => {
  it("can be chosen while a filter is on, and is dim and apart", async () => {
    show();
    await feed(...lines(30, (i) => (i === 10 || i === 20 ? `needle ${i}` : `hay ${i}`)));
    const choice = find<HTMLSelectElement>("[aria-label='Lines around each match']");
    expect(choice.hidden).toBe(true);
    await type("needle");
    expect(choice.hidden).toBe(false);
    expect([...choice.options].map(({ textContent }) => textContent)).toEqual(["no context", "± 1 line", "± 3 lines", "± 10 lines"]);
    choice.value = "1";
    choice.dispatchEvent(new Event("change"));
    await settle();
    expect(messages()).toEqual(["hay 9", "needle 10", "hay 11", "hay 19", "needle 20", "hay 21"]);
    expect(all(".cl-context .cl-m").map(({ textContent }) => textContent)).toEqual(["hay 9", "hay 11", "hay 19", "hay 21"]);
    expect(all(".cl-apart .cl-m").map(({ textContent }) => textContent)).toEqual(["hay 19"]);
    expect(find(".cl-found .cl-count").textContent).toBe("2 of 30");
    expect(model.traits.around).toBe(1);
    await key("n");
    expect(picked()).toEqual(["needle 10"]);
    await type("");
    expect(choice.hidden).toBe(true);
    expect(messages()).toHaveLength(Math.min(30, messages().length));
  });

  it("Python's number is offered, too", async () => {
    show({ query: { since: "all", grep: "needle" }, around: 5 });
    await feed(...lines(30, (i) => (i === 10 ? "needle" : `hay ${i}`)));
    const choice = find<HTMLSelectElement>("[aria-label='Lines around each match']");
    expect(choice.selectedOptions[0].textContent).toBe("± 5 lines");
    expect(messages()).toHaveLength(11);
  });
});

describe("where things are", () => {
  const bars = (name: string): number => (find(`.cl-h-${name}`).getAttribute("d") ?? "").split("M").length - 1;
  const ticks = (kind: string): number[] => [...(find(`.cl-tick-${kind}`).getAttribute("d") ?? "").matchAll(/M0 (\d+)/g)].map(([, at]) => Number(at));

  it("with a filter the time axis has its matches, and the warnings and errors among them", async () => {
    show();
    await feed(...lines(200, (i) => (i === 150 ? "ERROR needle" : i === 50 ? "ERROR hay" : i % 20 === 0 ? `needle ${i}` : `hay ${i}`)));
    expect([bars("match"), bars("err")]).toEqual([0, 2]);
    expect(find(".cl-time").classList.contains("cl-matched")).toBe(false);
    await type("needle");
    await settle(1000);
    expect([bars("match"), bars("err")]).toEqual([11, 1]);
    const axis = find(".cl-axis");
    axis.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
    expect(axis.getAttribute("aria-valuetext")).toMatch(/ · 1 of \d+ lines?$/);
    await type("");
    await settle(1000);
    expect([bars("match"), bars("err")]).toEqual([0, 2]);
  });

  it("on demand the bars are split by level or by pod, also those of the matches", async () => {
    const heights = (selector: string): number[] => all(selector).map((path) => [...path.getAttribute("d")!.matchAll(/v-([\d.]+)/g)].reduce((sum, [, height]) => sum + Number(height), 0));
    const describeLast = (): string => {
      find(".cl-axis").dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
      return find(".cl-axis").getAttribute("aria-valuetext")!.replace(/^.* · /, "");
    };
    show();
    await feed([T0, 1, "ERROR x"], [T0, 1, "WARNING x"], [T0, 1, "DEBUG x"], [T0, 1, "INFO needle"], [T0, 2, "needle"], [T0, 2, "FATAL x"]);
    expect([all("[class^=cl-h-info]"), all(".cl-h-pod")]).toEqual([[], []]);
    named("Columns, order and size").click();
    named("By level").click();
    await settle(1000);
    expect(model.traits.split).toBe("level");
    expect(heights(".cl-h-error, .cl-h-warning, .cl-h-info, .cl-h-debug").map((height) => Math.round(height / 5.3))).toEqual([2, 1, 2, 1]);
    expect(heights(".cl-h-err, .cl-h-warn")).toEqual([0, 0]);
    expect(describeLast()).toBe("6 lines, 1 warning, 2 errors. error 2, warning 1, info 2, debug 1");
    named("Columns, order and size").click();
    named("By pod").click();
    await settle(1000);
    expect(heights(".cl-h-pod").map((height) => Math.round(height / 5.3))).toEqual([4, 2]);
    // A pod has the colour of its lines.
    const [worker0, worker1] = all(".cl-h-pod").map(({ style }) => style.getPropertyValue("--h"));
    expect(all("[data-seq] .cl-s").map(({ style }) => style.getPropertyValue("--h"))).toEqual([worker0, worker0, worker0, worker0, worker1, worker1]);
    expect(describeLast()).toBe("6 lines, 1 warning, 2 errors. w-0 4, w-1 2");
    await type("needle");
    await settle(1000);
    expect(describeLast()).toBe("2 of 6 lines. w-0 1, w-1 1");
    expect(new Set(heights(".cl-h-pod")).size).toBe(1);
    model.traits.split = "";
    model.emit("change:split");
    await settle(1000);
    expect([all(".cl-h-pod"), bars("match")]).toEqual([[], 1]);
  });

  it("of many pods, those with the most lines are told apart", async () => {
    show({ split: "pod" });
    const sources = Object.fromEntries(Array.from({ length: 20 }, (_unused, i) => [i, { ...W0, pod: `train-1-worker-${i}` }]));
    const s = Object.keys(sources).flatMap((id) => Array.from({ length: 1 + Number(id) }, () => Number(id)));
    model.bytes(sse("log", { task: TASK, seq: 0, sources, t0: ns(T0), dt: s.map(() => 0), s, o: s.map(() => 1), m: s.map(() => "x") }, "c1"));
    await settle(1000);
    expect([all(".cl-h-pod").length, all(".cl-h-info").length]).toEqual([16, 1]);
    find(".cl-axis").dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
    expect(find(".cl-axis").getAttribute("aria-valuetext")).toMatch(/210 lines\. w-14 15, .*, w-19 20, others 105$/);
  });

  it("what is not loaded is in no part of a bar, and the tip says so", () => {
    const bar = new TimeBar(() => {}, () => {}, () => {});
    const parts = [{ name: "info", lines: Uint32Array.of(0, 20) }, { name: "error", lines: Uint32Array.of(2, 0) }];
    // The outline spreads the lines of a batch, so it has other numbers than the lines themselves.
    bar.draw({ from: 0, to: 100, bins: Uint32Array.of(40, 0, 2, 0, 18, 0, 0, 0), count: 2, parts, matchesFrom: 0, low: 0, isComplete: true, marks: [], loaded: [[50, 100]] }, false, []);
    const tipAt = (at: string): string => {
      const axis = bar.element.querySelector(".cl-axis")!;
      axis.dispatchEvent(new KeyboardEvent("keydown", { key: at }));
      return axis.getAttribute("aria-valuetext")!.replace(/^.* · /, "");
    };
    expect([tipAt("Home"), tipAt("End")]).toEqual(["40 lines, 2 errors. error 2, not loaded 38", "20 lines. info 20"]);
    const heights = [...bar.element.querySelectorAll(".cl-h-all, .cl-h-error, .cl-h-info")].map((path) => [...path.getAttribute("d")!.matchAll(/v-([\d.]+)/g)].map(([, height]) => Number(height)));
    expect(heights).toEqual([[32, 17], [3.5], [17]]);
  });

  it("errors, and what find has found, are ticks at the scroll bar", async () => {
    show();
    await feed(...lines(401, (i) => (i === 100 || i === 300 ? "ERROR x" : i === 200 ? "needle" : `hay ${i}`)));
    expect(ticks("errors").map((at) => Math.round(at / 10))).toEqual([10, 30]);
    expect(ticks("found")).toEqual([]);
    await key("f", { ctrlKey: true });
    await type("needle");
    await settle(1000);
    expect(ticks("found").map((at) => Math.round(at / 10))).toEqual([20]);
    session.change({ newestFirst: true });
    await feed([T0 + 500_000, 1, "hay"]);
    await settle(1000);
    expect(ticks("errors").map((at) => Math.round(at / 10))).toEqual([10, 30]);
    // If all rows are in sight, there is nothing to scroll to.
    await key("Escape", {}, find("input[type=search]"));
    await type("ERROR");
    await settle(1000);
    expect(ticks("errors")).toEqual([]);
  });
});

describe("following", () => {
  const select = async (node: Node | null): Promise<void> => {
    if (node === null) getSelection()!.removeAllRanges();
    else getSelection()!.selectAllChildren(node);
    document.dispatchEvent(new Event("selectionchange"));
    await settle();
  };
  const state = (): string => find(".cl-foot .cl-state").textContent;

  it("pauses while text is selected, for this page alone", async () => {
    show();
    await feed(...lines(60, (i) => `line ${i}`));
    await select(all(".cl-m")[3]);
    const [top] = messages();
    await feed(...lines(20, (i) => `late ${i}`).map(([time, source, text]): Line => [time + 100_000, source, text]));
    expect(messages()[0]).toBe(top);
    expect(state()).toMatch(/^Paused while text is selected, \d+ lines waiting$/);
    expect(model.traits.follow ?? true).toBe(true);
    await select(null);
    expect(messages().at(-1)).toBe("late 19");
    expect(state()).toBe("Live");
  });

  it("stays paused if the user paused, or moved while text was selected", async () => {
    show();
    await feed(...lines(60, (i) => `line ${i}`));
    await select(all(".cl-m")[3]);
    await key("g");
    await select(null);
    expect(messages()[0]).toBe("line 0");
    expect(model.traits.follow).toBe(false);
    await select(all(".cl-m")[3]);
    await select(null);
    expect(messages()[0]).toBe("line 0");
  });
});

it("arrows in the lines move away from a text that is selected, and the place stays", async () => {
  show();
  await feed(...lines(400, (i) => `line ${i}`));
  const select = async (node: Node | null): Promise<void> => {
    if (node === null) getSelection()!.removeAllRanges();
    else getSelection()!.selectAllChildren(node);
    document.dispatchEvent(new Event("selectionchange"));
    await settle();
  };
  all("[data-seq] .cl-t")[3].click();
  await settle();
  await select(all(".cl-m")[3]);
  for (let i = 0; i < 30; i++) await key("ArrowUp");
  const [top] = messages();
  await select(null);
  expect([messages()[0], find(".cl-foot .cl-state").textContent]).toEqual([top, expect.stringContaining("Paused")]);
  expect(model.traits.follow).toBe(false);
});

describe("find without filtering", () => {
  it("marks, counts and wraps around; later lines count, too", async () => {
    show();
    await feed(...lines(30, (i) => (i % 10 === 5 ? `needle ${i}` : `hay ${i}`)));
    await key("f", { ctrlKey: true });
    await type("needle");
    expect(messages().filter((text) => text.startsWith("hay")).length).toBeGreaterThan(5);
    expect(find(".cl-found .cl-count").textContent).toBe("3 of 30");
    await enter();
    const first = picked();
    expect(first[0]).toMatch(/^needle/);
    await enter();
    await enter();
    await enter();
    expect(picked()).toEqual(first);
    expect(find(".cl-found .cl-count").textContent).toMatch(/^\d \/ 3 of 30$/);
    await key("N");
    expect(picked()).not.toEqual(first);
    await feed([T0 + 99_000, 1, "needle new"]);
    expect(find(".cl-found .cl-count").textContent).toMatch(/4 of 31$/);
    await key("Escape", {}, find("input[type=search]"));
    expect(find(".cl-found .cl-count").textContent).toBe("");
    expect(all("mark")).toHaveLength(0);
  });

  it("several texts have a colour each, in find and in the filter", async () => {
    show();
    await feed([T0, 1, "loss=2 lr=3 NaN"], [T0 + 1, 1, "other"]);
    const marks = (): string[] => all("mark").map((one) => `${one.textContent} ${one.style.getPropertyValue("--h")}`);
    await key("f", { ctrlKey: true });
    await type("loss OR lr=3 OR nan");
    expect(messages()).toHaveLength(2);
    expect(marks()).toEqual(["loss ", "lr= 200", "3 200", "NaN 330"]);
    await key("Escape", {}, find("input[type=search]"));
    await type("lr !other");
    expect(marks()).toEqual(["lr "]);
    await enter();
    await type("nan");
    expect(marks()).toEqual(["lr ", "NaN 200"]);
    await key("f", { ctrlKey: true });
    await type("lr OR nan");
    expect(marks()).toEqual(["lr ", "NaN 200"]);
    await type("nan OR lr");
    expect(marks()).toEqual(["lr 200", "NaN "]);
  });

  it("says how many lines were searched, if that is not all", async () => {
    show({ query: { since: "10s" } });
    await feed(...lines(30, (i) => (i % 10 === 5 ? `needle ${i}` : `hay ${i}`)));
    await key("f", { ctrlKey: true });
    await type("needle");
    expect(find(".cl-found .cl-count").textContent).toMatch(/^1 of 1\d in this window$/);
  });

  it("a match is shown in context: without the filter, at its place", async () => {
    show();
    await feed(...lines(200, (i) => (i === 77 ? "needle" : `hay ${i}`)));
    await type("needle");
    expect(messages()).toEqual(["needle"]);
    find("[data-seq] .cl-t").click();
    await settle();
    named("Show the line in context: without the filter (c)").click();
    await settle();
    expect(picked()).toEqual(["needle"]);
    expect(messages()).toEqual(expect.arrayContaining(["hay 76", "needle", "hay 78"]));
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("");
  });
});

describe("jumps", () => {
  it("errors forward and back, a time, and the last line before the end", async () => {
    show();
    await feed(...lines(120, (i) => (i === 20 || i === 60 || i === 61 ? `ERROR ${i}` : `fine ${i}`)));
    await key("E");
    expect(picked()).toEqual(["ERROR 60"]);
    await key("E");
    expect(picked()).toEqual(["ERROR 20"]);
    await key("e");
    expect(picked()).toEqual(["ERROR 60"]);
    await key(":");
    const input = find<HTMLInputElement>(".cl-prompt input");
    input.value = "never";
    input.form!.requestSubmit();
    expect(find(".cl-prompt [role=alert]").textContent).toContain("14:03");
    input.value = new Date(T0 + 100_000).toISOString();
    input.form!.requestSubmit();
    await settle();
    expect(picked()).toEqual(["fine 100"]);
    await status({ notice: "ended", source: W1, time: ns(T0 + 119_500), exit_code: 1, reason: "Error", message: "" });
    await feed([T0 + 130_000, 1, "the other goes on"]);
    await key("d");
    expect(picked()).toEqual(["fine 119"]);
  });

  it("the axis ends where the task did, however late the end was noticed", async () => {
    show();
    await feed([T0, 1, "first"], [T0 + 10_000, 1, "last"]);
    await status({ notice: "ended", source: W0, time: ns(T0 + 10_500), exit_code: 0, reason: "Completed", message: "" });
    model.bytes(sse("end", { task: TASK, seq: next.seq++, time: ns(T0 + 17_000), state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c"));
    await settle(600);
    const axis = find(".cl-axis");
    vi.spyOn(axis, "getBoundingClientRect").mockReturnValue({ left: 0, width: 1000 } as DOMRect);
    axis.dispatchEvent(new MouseEvent("pointermove", { bubbles: true, clientX: 1000 }));
    expect(find("[role=tooltip]").textContent).toMatch(/^\d\d:13:30\.500 · /);
    expect(find("[role=tooltip]").textContent).toContain("Job complete exit 0");
  });

  it("the axis: a click goes there, a drag narrows, a double click shows all", async () => {
    show();
    await feed(...lines(100, (i) => `line ${i}`));
    await settle(600);
    const axis = find(".cl-axis");
    vi.spyOn(axis, "getBoundingClientRect").mockReturnValue({ left: 0, width: 1000 } as DOMRect);
    const point = (name: string, x: number): unknown => axis.dispatchEvent(Object.assign(new MouseEvent(name, { bubbles: true, button: 0, clientX: x }), { pointerId: 1 }));
    point("pointermove", 2);
    expect(find("[role=tooltip]").textContent).toMatch(/^\d\d:13:2\d\.\d+ · \d+ lines?$/);
    const { from, until } = session.settings.filter;
    expect([from, until]).toEqual([null, null]);
    const span = 99_000;
    point("pointerdown", 0);
    point("pointermove", 20);
    point("pointerup", (1000 * 20_000) / span);
    await settle();
    expect(session.settings.filter.from).toBe(T0);
    expect(messages().at(-1)).toMatch(/^line (19|20)$/);
    expect(chips()[0]).toMatch(/^\d\d:13:20 to \d\d:13:4\d$/);
    axis.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
    await settle();
    expect(chips()).toEqual([]);
    point("pointerdown", (1000 * 30_000) / span);
    point("pointerup", (1000 * 30_000) / span);
    await settle();
    expect(picked()[0]).toMatch(/^line (29|30|31)$/);
    await key("ArrowLeft", {}, axis);
    await key("ArrowLeft", { shiftKey: true }, axis);
    expect(axis.getAttribute("aria-valuetext")).toMatch(/lines?/);
    await key("Enter", {}, axis);
    expect(session.settings.filter.from).not.toBeNull();
    await key("Escape", {}, axis);
    expect(session.settings.filter.from).toBeNull();
  });
});

describe("copies and bookmarks", () => {
  it("copies picked lines as text, JSON and code", async () => {
    show();
    const copied: string[] = [];
    vi.stubGlobal("navigator", { clipboard: { writeText: (text: string) => Promise.resolve(void copied.push(text)) } });
    await feed(...lines(10, (i) => `line ${i}`));
    const times = all("[data-seq] .cl-t");
    times[3].click();
    await settle();
    times[5].dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
    await settle();
    expect(picked()).toEqual(["line 3", "line 4", "line 5"]);
    expect(find(".cl-pickbar").textContent).toContain("3 lines picked");
    await key("ArrowUp", { shiftKey: true });
    expect(picked()).toEqual(["line 3", "line 4"]);
    await key("y");
    await key("Y", { shiftKey: true });
    named("Copy the picked lines").click();
    named("As JSON").click();
    await settle();
    expect(copied.slice(0, 2)).toEqual(["line 3\nline 4\n", "log.seq[3:5]"]);
    expect(copied[2].trim().split("\n").map((line) => JSON.parse(line) as unknown)[0]).toEqual({ seq: 3, time: new Date(T0 + 3000).toISOString(), pod: W1.pod, container: "main", level: null, text: "line 3" });
    await key("Escape");
    expect(picked()).toEqual([]);
    expect(find(".cl-pickbar").hidden).toBe(true);
    vi.unstubAllGlobals();
  });

  it("code names just the picked lines, although other lines have numbers between theirs", async () => {
    show();
    const copied: string[] = [];
    vi.stubGlobal("navigator", { clipboard: { writeText: (text: string) => Promise.resolve(void copied.push(text)) } });
    // Two pods, one of which was recorded later: in the order of time, 0 3 1 4 2 5.
    await feed(...([1, 2] as const).flatMap((s) => [0, 1, 2].map((i): Line => [T0 + 10_000 * i + 5000 * s, s, `${" ab"[s]} ${i}`])));
    expect(find(".cl-code").textContent).toBe("log.seq[0:6]");
    const copy = async (from: number, to: number): Promise<string | undefined> => {
      all("[data-seq] .cl-t")[from].click();
      await settle();
      all("[data-seq] .cl-t")[to].dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: true }));
      await settle();
      await key("Y", { shiftKey: true });
      return copied.at(-1);
    };
    expect(messages()).toEqual(["a 0", "b 0", "a 1", "b 1", "a 2", "b 2"]);
    expect(await copy(0, 2)).toBe("[log.seq[n] for n in (0, 3, 1)]");
    expect(await copy(0, 5)).toBe("log.seq[0:6]");
    expect(await copy(1, 1)).toBe("log.seq[3:4]");
    session.change({ level: "", grep: "a 0|b 1|a 2", regex: true, include: [] });
    await settle();
    expect(messages()).toEqual(["a 0", "b 1", "a 2"]);
    expect([find(".cl-code").textContent, find(".cl-code").hidden]).toEqual(["", true]);
    vi.unstubAllGlobals();
  });

  it("a bookmark has a note, is a trait, and leads back", async () => {
    show();
    await feed(...lines(300, (i) => `line ${i}`));
    all("[data-seq] .cl-t").at(-2)!.click();
    await key("m");
    const input = find<HTMLInputElement>(".cl-prompt input");
    input.value = "here it breaks";
    input.form!.requestSubmit();
    await settle();
    expect(model.traits.bookmarks).toEqual([{ task: TASK, seq: 298, time: new Date(T0 + 298_000).toISOString().replace("Z", "000000Z"), note: "here it breaks" }]);
    expect(find(".cl-noted").dataset.note).toBe("here it breaks");
    await key("g");
    expect(messages()[0]).toBe("line 0");
    named("Go to a place in the log").click();
    named("★ here it breaks").click();
    await settle();
    expect(picked()).toEqual(["line 298"]);
  });
});

describe("display settings", () => {
  it("are traits: set from Python, written back, and saved", async () => {
    show({ time: "utc", wrap: true, columns: ["pod", "level"], font_size: 15, height: 500, follow: true, bookmarks: [] });
    await feed([T0, 1, "ERROR a"], [T0 + 1, 2, "b"]);
    await settle(300);
    expect(find("[data-seq] .cl-t").textContent).toBe("22:13:20.000");
    expect(find("[data-seq] > i").textContent).toBe("error");
    expect(viewer.root.style.getPropertyValue("--size")).toBe("15px");
    expect(find(".cl-rows").classList.contains("cl-wrap")).toBe(true);
    await key("w");
    await key("-");
    expect(model.traits).toMatchObject({ wrap: false, font_size: 14 });
    Object.assign(model.traits, { time: "off", font_size: 10 });
    model.emit("change:time");
    await settle();
    expect(viewer.root.classList.contains("cl-notime")).toBe(true);
    expect(viewer.root.style.getPropertyValue("--size")).toBe("10px");
    named("Columns, order and size").click();
    all(".cl-menu button").find(({ textContent }) => textContent === "Higher")!.click();
    expect(model.traits.height).toBe(200);
  });

  it("newest first: follows at the top, keeps the place, and turns around the row being read", async () => {
    show({ newest_first: true });
    await feed(...lines(200, (i) => `line ${i}`));
    expect(find(".cl-pill").textContent).toBe("↑ newest");
    expect(messages().slice(0, 3)).toEqual(["line 199", "line 198", "line 197"]);
    await feed([T0 + 300_000, 1, "newer"]);
    expect(messages()[0]).toBe("newer");
    find(".cl-rows").dispatchEvent(new WheelEvent("wheel", { deltaY: 100 }));
    find(".cl-rows").scrollTop = 50 * 19;
    find(".cl-rows").dispatchEvent(new Event("scroll"));
    await settle(400);
    const top = messages()[0];
    expect(top).toMatch(/^line 1[45]\d$/);
    await feed([T0 + 301_000, 1, "newest"]);
    expect(messages()[0]).toBe(top);
    expect(find(".cl-foot").textContent).toMatch(/5\d lines waiting/);
    await key("r");
    expect(model.traits.newest_first).toBe(false);
    expect(messages()[0]).toBe(top);
    expect(messages()[1]).toBe(`line ${Number(top.slice(5)) + 1}`);
    await key("r");
    await key("g");
    expect(messages().at(-1)).toBe("line 0");
    await key("G");
    expect(messages()[0]).toBe("newest");
    // The next is the one below.
    await key("f", { ctrlKey: true });
    await type("line 1");
    await key("n");
    expect(picked()).toEqual(["line 199"]);
    expect(find(".cl-found").textContent).toMatch(/^1 \/ 111 of/);
  });

  it("newest first: a traceback is read from its first line, and copies are in order", async () => {
    const writeText = vi.fn(() => Promise.resolve());
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    show({ newest_first: true });
    const traceback = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "KeyError: 1"];
    await feed([T0, 1, "before"], ...traceback.map((text, i): Line => [T0 + 1 + i, 1, text]), [T0 + 9, 1, "after"], [T0 + 10, 1, "last"]);
    await settle(2000);
    find(".cl-tw").click();
    await settle();
    expect(messages().map((text) => text.trim().split(/[ :]/)[0])).toEqual(["last", "after", expect.stringMatching(/KeyError|▾/), "File", "KeyError", "before"]);
    all("[data-seq] .cl-t")[1].click();
    await settle();
    all("[data-seq] .cl-t")[3].dispatchEvent(new MouseEvent("click", { shiftKey: true, bubbles: true }));
    await key("y");
    expect(writeText).toHaveBeenCalledWith(`${traceback.slice(0, 2).join("\n")}\nafter\n`);
    vi.unstubAllGlobals();
  });

  it("Enter opens and closes the picked line", async () => {
    show();
    await feed([T0, 1, "a"], [T0 + 1, 1, '{"msg":"m","a":1}']);
    find("[data-seq='1'] .cl-t").click();
    await settle();
    await key("Enter");
    expect(find(".cl-tree").textContent).toContain("a: 1");
    await key("Enter");
    expect(find(".cl-tree")).toBeNull();
  });

  it("chosen fields and folded lines are traits, too", async () => {
    show({ fields: ["b"], fold: "" });
    await feed([T0, 1, '{"msg":"m","a":1,"b":2}'], [T0 + 1, 1, "same 1"], [T0 + 2, 1, "same 1"], [T0 + 3, 1, "same 2"]);
    expect(messages()).toEqual(["2▸ m", "same 1", "same 1", "same 2"]);
    await key("u");
    expect(model.traits.fold).toBe("exact");
    expect(messages()).toEqual(["2▸ m", expect.stringMatching(/^▸ same 1 {2}· × 2 until /), "same 2"]);
    Object.assign(model.traits, { fields: ["a", "b"], fold: "masked" });
    model.emit("change:fold");
    await settle();
    expect(messages()).toEqual(["12▸ m", expect.stringMatching(/^▸ same 1 {2}· × 3 until /)]);
  });

  it("a reloaded page shows what it showed before", async () => {
    show({ query: { since: "5m" }, view: { since: "1h", grep: ["a"], typed: "b", first_seq: 1 } });
    await settle();
    expect(find('.cl-time [aria-pressed="true"]').textContent).toBe("1h");
    expect(chips()).toEqual(["contains “a”"]);
    expect(find<HTMLInputElement>("input[type=search]").value).toBe("b");
  });

  it("follow is a state that Python sees and sets", async () => {
    show({ follow: true });
    await feed(...lines(200, (i) => `line ${i}`));
    find(".cl-rows").dispatchEvent(new WheelEvent("wheel", { deltaY: -100 }));
    await feed(...lines(50, (i) => `more ${i}`).map(([ms, source, text]): Line => [ms + 300_000, source, text]));
    expect(model.traits.follow).toBe(false);
    expect(find(".cl-foot").textContent).toMatch(/Paused: view is \d+ s behind, \d+ lines waiting/);
    model.traits.follow = true;
    model.emit("change:follow");
    await settle();
    expect(messages().at(-1)).toBe("more 49");
  });
});

describe("state and phases", () => {
  it("phases with their lengths; for several pods the typical one", async () => {
    show();
    const begun = { created: ns(T0 - 20_000), scheduled: ns(T0 - 18_000), inits: 1 };
    await status({ notice: "started", time: ns(T0), source: { ...W0, container: "fetch", kind: "init" }, message: "", ...begun });
    await status({ notice: "ended", time: ns(T0 + 3000), source: { ...W0, container: "fetch", kind: "init" }, exit_code: 0, message: "" });
    await status({ notice: "started", time: ns(T0 + 4000), source: W0, message: "", ...begun });
    await status({ notice: "started", time: ns(T0 + 30_000), source: W1, message: "", ...begun });
    model.bytes(sse("status", { task: TASK, state: "running", message: "", now: ns(T0 + 64_000) }));
    await settle();
    expect(all(".cl-ph").map(({ textContent }) => textContent)).toEqual(["Scheduled 2 s", "Pulled 18 s", "Init 1/1 3 s", "Running 1 m"]);
    expect(all(".cl-ph")[1].title).toBe(`18 s typically; the slowest of 2 pods: ${W1.pod}, 48 s`);
    model.bytes(sse("end", { task: TASK, seq: next.seq++, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c"));
    await settle();
    expect(all(".cl-ph").at(-1)!.textContent).toBe("Complete · exit 0");
    // Where there is no room the first ones are left out.
    expect(all(".cl-ph").map(({ style }) => Number(style.order))).toEqual([0, -1, -2, -3, -4]);
  });

  it("a task that crashes again and again does not count as running", async () => {
    show();
    const state = async (message: string, reason: string): Promise<void> => await status({ notice: "state", state: "running", time: ns(T0 + 9000), message, reason });
    await status({ notice: "started", time: ns(T0), source: { ...W0, run: 4 }, message: "", scheduled: ns(T0 - 3_600_000) });
    await status({ notice: "ended", time: ns(T0 + 1000), source: { ...W0, run: 4 }, exit_code: 3, reason: "Error", message: "" });
    const words = "CrashLoopBackOff: main ended with exit 3, Error; 4 restarts";
    await state(words, "CrashLoopBackOff");
    await settle();
    expect(all("[data-notice]").map(({ textContent }) => textContent)).toContain(`${W0.pod} · main started again (run 4)`);
    // How long it took to come to its first run is not known.
    expect(all(".cl-ph").map(({ textContent }) => textContent)).toEqual(["CrashLoopBackOff"]);
    expect(find(".cl-ph.cl-now").title).toBe(words);
    expect(find(".cl-dot").classList.contains("cl-troubled")).toBe(true);
    const bar = find(".cl-foot");
    expect(bar.textContent).toContain(words);
    expect(bar.querySelector("[data-tone]")!.getAttribute("data-tone")).toBe("warn");
    await status({ notice: "started", time: ns(T0 + 20_000), source: { ...W0, run: 5 }, message: "", scheduled: ns(T0 - 3_600_000) });
    await state("Running", "Running");
    await settle();
    expect(all(".cl-ph").map(({ textContent }) => textContent!.slice(0, 7))).toEqual(["Running"]);
    expect([bar.textContent!.includes("Live"), find(".cl-dot").classList.contains("cl-troubled")]).toEqual([true, false]);
  });

  it("a container that could not be started has not run, and says why", async () => {
    show();
    const begun = { created: ns(T0 - 20_000), scheduled: ns(T0 - 18_000) };
    const why = 'exec: "/nope/python":\n  no such file or directory';
    await status({ notice: "created", time: ns(T0), source: W0, message: "", ...begun });
    await status({ notice: "ended", time: ns(T0), source: W0, exit_code: 128, reason: "StartError", termination_message: why, message: "" });
    await settle();
    expect(all("[data-notice] .cl-nt").map(({ textContent }) => textContent)).toContain(`${W0.pod} · main could not be started: exit 128, StartError: exec: "/nope/python": no such file or directory`);
    find("[data-notice] .cl-more").click();
    await settle();
    expect(find(".cl-hint").textContent).toBe(why);
    find(".cl-only").dispatchEvent(new Event("pointerover", { bubbles: true }));
    expect(find(".cl-only").title).toContain(`failed, exit 128\n${why}`);
    model.bytes(sse("end", { task: TASK, seq: next.seq++, state: "failed", exit_code: 128, message: `Pod failed exit 128: StartError: ${"failed to create task: ".repeat(9)}${why}` }, "c"));
    await settle();
    // What matters stands at the end of a long line: it opens.
    all("[data-notice] .cl-more").at(-1)!.click();
    await settle();
    expect(all("[data-notice].cl-open").at(-1)!.textContent).toContain("no such file or directory");
    expect(all(".cl-ph").map(({ textContent }) => textContent)).toEqual(["Scheduled 2 s", "Failed · exit 128"]);
  });

  it("a file has lines, but no end and no exit code", () => {
    const file = { task: "file:job/old.log", state: "succeeded" as const, message: "", reason: "", ended: true, exit: null, lines: 3000, gaps: 0, missing: [], gapLines: 0, complete: null };
    expect(phasesOf(file, 0).map(({ name }) => name)).toEqual(["File · 3\u202f000 lines"]);
    expect(phasesOf({ ...file, task: TASK }, 0).map(({ name }) => name)).toEqual(["Complete"]);
  });

  it("a click shows only one source, then all again; the others are hidden with one click", async () => {
    show();
    await status({ notice: "started", time: ns(T0), source: { ...W0, container: "proxy", kind: "sidecar" }, message: "" });
    await feed(...lines(4, (i) => `line ${i}`));
    await settle(300);
    const only = (): HTMLElement => find(".cl-only");
    only().click();
    await settle(300);
    expect(messages()).toEqual(["line 0", "line 2"]);
    only().click();
    await settle(300);
    expect(messages()).toHaveLength(4);
    named("Hide init and sidecars").click();
    await settle(300);
    expect(all("[role=switch]").map((one) => one.getAttribute("aria-checked"))).toEqual(["true", "true", "false"]);
    only().dispatchEvent(new Event("pointerover", { bubbles: true }));
    expect(only().title).toContain("on n1");
    expect(only().title).toContain("2 lines, the last 1 s ago");
  });

  it("of pods with several containers the main ones are shown with one click, and the others hidden with one", async () => {
    show();
    const pods = ["train-x2k4f", "train-bb7zq"].flatMap((pod) => ["train", "agent"].map((container) => ({ pod, container, kind: "main", run: 0 })));
    for (const source of pods) await status({ notice: "started", time: ns(T0), source, main: "train", message: "" });
    await settle(300);
    const shown = (): string[] => all("[role=switch][aria-checked=true]").map((one) => one.getAttribute("aria-label")!.replace(/ train-.*/, ""));
    expect(shown()).toEqual(["train-bb7zq agent", "train-bb7zq train", "train-x2k4f agent", "train-x2k4f train"]);
    named("Hide other containers").click();
    await settle(300);
    expect(shown()).toEqual(["train-bb7zq train", "train-x2k4f train"]);
    named("Show other containers").click();
    await settle(300);
    expect(shown()).toHaveLength(4);
    all(".cl-only")[0].click();
    await settle(300);
    expect(shown()).toEqual(["train-bb7zq agent"]);
    named("Show the main containers").click();
    await settle(300);
    expect(shown()).toEqual(["train-bb7zq train", "train-x2k4f train"]);
    named("Show the lines of all sources").click();
    await settle(300);
    expect(shown()).toHaveLength(4);
  });
});

it("the help lists the keys in groups", async () => {
  show();
  await settle();
  await key("?");
  expect(isShown(find("[aria-label=Keys]"))).toBe(true);
  expect(all(".cl-help h3").map(({ textContent }) => textContent)).toEqual(["Look for", "Go to", "Show", "Take along"]);
  await key("?");
  expect(isShown(find("[aria-label=Keys]"))).toBe(false);
});
