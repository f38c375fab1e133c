// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Curves } from "../../src/store/charts.ts";
import { TaskStore } from "../../src/store/taskstore.ts";
import { smoothed } from "../../src/ui/multiples.ts";
import { type CurvePaths, curvePaths } from "../../src/ui/plot.ts";
import { formatNumber, makeScale } from "../../src/ui/scale.ts";
import { bytesOf, type Line, logEvent, ns, sse, T0, TASK, W0 } from "../helpers.ts";
import { all, feed, find, messages, model, next, page, session, settle, show } from "../page.ts";

page({ now: T0 + 100_000, settled: 700 });
beforeEach(() => void vi.spyOn(console, "warn").mockImplementation(() => {}));

const names = (): string[] => all(".cl-pn").map((element) => element.textContent ?? "");
const said = (): string => find(".cl-of").textContent ?? "";
/** Of the first picture: each line's points. */
const paths = (plot = 0): string[] => [...all(".cl-plot")[plot].querySelectorAll(".cl-pc path")].map((path) => path.getAttribute("d") ?? "");

/** Two sources, a line a second: the second one's loss is NaN from step 80 on. */
const training = (from: number, to: number): Line[] =>
  Array.from({ length: to - from }, (_unused, i): Line => {
    const step = from + i;
    const source = ((step % 2) + 1) as 1 | 2;
    return [T0 + step * 1000, source, `step=${step} loss=${source === 2 && step > 80 ? "nan" : (2 - step / 100).toFixed(2)} lr=0.001 acc=${step}%`];
  });

function pointer(type: string, clientX: number, plot = 0): void {
  all(".cl-plot")[plot].dispatchEvent(new MouseEvent(type, { clientX, clientY: 20, button: 0, bubbles: true }));
}

describe("the chart beside the lines", () => {
  it("is off until a button, a key or the trait shows it, and is saved", async () => {
    show();
    await feed(...training(0, 20));
    expect(find(".cl-chart").hidden).toBe(true);
    find('[aria-label="Chart of the metrics (p)"]').click();
    await settle();
    expect(names()).toEqual(["loss", "acc"]);
    expect(model.traits.chart).toBe("time");
    find(".cl-rows").dispatchEvent(new KeyboardEvent("keydown", { key: "p", bubbles: true }));
    expect([find(".cl-chart").hidden, model.traits.chart]).toEqual([true, ""]);
    model.traits.chart = "step";
    model.emit("change:chart");
    await settle();
    expect(find(".cl-chart").hidden).toBe(false);
    expect(paths()).toHaveLength(2);
  });

  it("grows with new lines, and rests without them", async () => {
    show({ chart: "time" });
    await feed(...training(0, 20));
    expect(paths()[0].split("L")).toHaveLength(10);
    await feed(...training(20, 60));
    expect(paths()[0].split("L")).toHaveLength(30);
    const before = all(".cl-pc path").map((path) => path.getAttribute("d"));
    await feed([T0 + 60_000, 1, "no numbers"]);
    expect(all(".cl-pc path")).toHaveLength(before.length);
    expect(find(".cl-plot").getAttribute("aria-label")).toMatch(/^loss, 2 sources, from 1.41 to 2, median of the last values 1.415\./);
  });

  it.each([[300, 4], [210, 2]])("shows no more times than fit: %i px wide, %i of them", async (width, times) => {
    vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(width);
    show({ chart: "time" });
    await feed(...training(0, 20));
    expect(all(".cl-pt span")).toHaveLength(times);
  });

  it("marks where a value becomes NaN, and leads there", async () => {
    show({ chart: "time" });
    await feed(...training(0, 100));
    const lost = find(".cl-lost");
    expect(lost.textContent).toBe("NaN from step 81, w-1");
    expect(all(".cl-lost").filter(({ hidden }) => !hidden)).toHaveLength(1);
    expect(find(".cl-px").getAttribute("d")).not.toBe("");
    lost.click();
    await settle();
    expect(find(".cl-picked .cl-m").textContent).toContain("step=81  loss=nan");
    expect(find(".cl-foot").textContent).toContain("Paused");
  });

  /** Two sources: the first ends after step 19, the second goes on to step 59, at `places` without a number. */
  const ended = (...places: number[]): Line[] =>
    Array.from({ length: 60 }, (_unused, step) => ([1, 2] as const).filter((source) => source === 2 || step < 20).map((source): Line => [T0 + step * 1000, source, `step=${step} loss=${source === 2 && places.includes(step) ? "nan" : source * 100 + step}`])).flat();

  it.each(["time", "step"])("names under the pointer only the curves that reach there, over %s", async (chart) => {
    show({ chart });
    await feed(...ended());
    const tip = (x: number): string => {
      find(".cl-plot").dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true }));
      for (let i = 0; i < x; i += 10) find(".cl-plot").dispatchEvent(new KeyboardEvent("keydown", { key: "PageDown", bubbles: true }));
      return find(".cl-ptip").textContent ?? "";
    };
    expect(tip(20)).toMatch(/step 12● 112 w-0● 212 w-1$/);
    expect(tip(80)).toMatch(/step 47● 247 w-1$/);
  });

  it("says what its number is: the last value, or the median of the curves that go on", async () => {
    show({ chart: "time" });
    await feed(...ended());
    expect([find(".cl-pv").textContent, find(".cl-pv").title]).toEqual(["median 259", "Median of the last values of 1 of 2 curves; the others have ended"]);
    all("[role=switch]")[1].click();
    await settle();
    expect([find(".cl-pv").textContent, find(".cl-pv").title]).toEqual(["119", "Last value"]);
  });

  it.each([[[30], "NaN at step 30, w-1"], [[30, 33], "NaN at step 30, w-1, and more"], [[58, 59], "NaN from step 58, w-1"]])("tells a NaN among numbers from one that stays: %j", async (places, words) => {
    show({ chart: "time" });
    await feed(...ended(...places));
    expect(find(".cl-lost").textContent).toBe(words);
    // There is no room for both.
    expect(find(".cl-pv").hidden).toBe(true);
  });

  it("says where values do not fit a logarithmic scale", async () => {
    show({ chart: "time", chart_log: true });
    await feed(...Array.from({ length: 20 }, (_unused, i): Line => [T0 + i * 1000, 1, `loss=${1 + i} delta=${i - 3}`]));
    expect(all(".cl-mult").map((one) => one.querySelector<HTMLElement>(".cl-faint")!.hidden)).toEqual([true, false]);
  });

  it("is drawn as a band with its middle if there are many points", () => {
    const x = Float64Array.from({ length: 400 }, (_unused, i) => i);
    const draw = (value: (i: number) => number, width: number): CurvePaths => curvePaths(x, x.map(value), (one) => one / 4, (one) => one, width);
    expect(draw((i) => i % 2, 1000).band).toBe("");
    const { line, band } = draw((i) => (i % 2) * 10, 100);
    expect(line.slice(1).split("L").map((place) => place.split(" ")[1])).toEqual(Array.from({ length: 50 }, () => "5"));
    expect([...new Set(band.match(/(?<= )\d+/g))]).toEqual(["0", "10"]);
    // A spike is not drawn away, and a value that is none breaks both.
    expect(draw((i) => (i === 201 ? 99 : 1), 100).band).toContain(" 99L");
    expect(draw((i) => (i === 200 ? Number.NaN : 1), 100).line.match(/M/g)).toHaveLength(2);
  });

  it("describes what is under the pointer, and a click goes to its line", async () => {
    show({ chart: "time" });
    await feed(...training(0, 100));
    pointer("pointermove", 40 + 252 / 2);
    await settle(50);
    expect(find(".cl-ptip").textContent).toMatch(/step 49● 1.51 w-1● 1.5 w-0/);
    // One place in all pictures.
    expect(all(".cl-pcur").every((one) => one.getAttribute("d") !== "")).toBe(true);
    pointer("pointerdown", 40);
    pointer("pointerup", 40);
    await settle();
    expect(find(".cl-picked .cl-m").textContent).toMatch(/step=[01] /);
    pointer("pointerleave", 0);
    expect(find(".cl-ptip").hidden).toBe(true);
  });

  it("a range is chosen as on the time axis, by pointer and keys, over steps too", async () => {
    show({ chart: "time", query: { since: "all" } });
    await feed(...training(0, 100));
    pointer("pointerdown", 40);
    pointer("pointermove", 40 + 126);
    pointer("pointerup", 40 + 126);
    await settle();
    expect(messages().length).toBeLessThan(60);
    expect(all(".cl-chips .cl-cw")).toHaveLength(1);
    const plot = find(".cl-plot");
    for (const key of ["Escape", "End", "Home"]) plot.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await settle();
    expect(all(".cl-chips .cl-cw")).toHaveLength(0);
    expect(plot.getAttribute("aria-valuetext")).toMatch(/step [01]\. /);
    all(".cl-chead button").find(({ textContent }) => textContent === "Step")!.click();
    await settle();
    for (const [key, shiftKey] of [["End", false], ["PageUp", true], ["Enter", false]] as const) find(".cl-plot").dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }));
    await settle();
    const { from, until } = session.settings.filter;
    expect([Math.round((from! - T0) / 1000), Math.round((until! - T0) / 1000)]).toEqual([90, 99]);
  });

  it("shows only the sources that are switched on", async () => {
    show({ chart: "time" });
    await feed(...training(0, 40));
    all("[role=switch]")[0].click();
    await settle();
    expect(paths()).toHaveLength(1);
  });

  it("shows several tasks in one plot", async () => {
    const other = TASK.replace("train-1", "train-2");
    show({ chart: "time", tasks: [TASK, other] });
    await feed(...training(0, 20));
    model.bytes(sse("log", logEvent(1, [[T0 + 500, 1, "step=1 loss=7"], [T0 + 900, 1, "step=2 loss=5"]], other), "c20,c1"));
    await settle();
    expect(paths()).toHaveLength(3);
    expect(find(".cl-plot").getAttribute("aria-label")).toMatch(/^loss, 3 sources, from 1.81 to 7/);
  });

  it("is redrawn only when something has changed", async () => {
    show({ chart: "time" });
    await feed(...training(0, 40));
    model.bytes(sse("end", { task: TASK, seq: next.seq++, exit_code: 0 }));
    await settle(5000);
    const drawn = vi.fn();
    const watch = new MutationObserver(drawn);
    watch.observe(find(".cl-plots"), { subtree: true, childList: true, attributes: true });
    await settle(10_000);
    expect(drawn).not.toHaveBeenCalled();
    watch.disconnect();
  });

  it("says so if there is nothing to draw, or no step", async () => {
    show({ chart: "step" });
    await feed([T0, 1, "hello"], [T0 + 1, 1, "world"]);
    expect(find(".cl-chart p").textContent).toContain("No numbers that vary");
    await feed([T0 + 2, 1, "loss=1"], [T0 + 3, 1, "loss=2"]);
    expect(find(".cl-chart p").textContent).toBe("No line names a step.");
  });
});

describe("lines that are not loaded", () => {
  const asked = (): Record<string, unknown>[] => model.sent.filter(({ type }) => type === "metrics");
  const answer = (id: unknown, event: string, data: object): void => model.emit("msg:custom", { type: "found", id }, [new DataView(bytesOf(sse(event, data)).buffer)]);

  async function behind(): Promise<void> {
    show({ chart: "time" });
    model.bytes(sse("status", { task: TASK, state: "running", message: "", older: "c0", from: ns(T0 + 50_000) }));
    next.seq = 50;
    await feed(...training(50, 80));
  }

  it("are read by the kernel or the server, once, and joined with the loaded ones", async () => {
    await behind();
    expect(said()).toBe("reading…");
    const [{ id, task }] = asked();
    expect(task).toBe(TASK);
    const early = { name: "loss", pod: W0.pod, container: "main", time: [0, 10, 50].map((second) => (T0 + second * 1000) * 1e6), step: [0, 10, 50], value: ["nan", 1.9, 1.5], seq: [0, 10, 50] };
    answer(id, "points", { series: [early] });
    answer(id, "progress", { looked: 30, lines: 60, left_out: 0 });
    await settle();
    expect(said()).toBe("reading 50 %…");
    // 10 to 78 by twos from 50 on: line 50 is in both and drawn once.
    expect(paths().find((path) => path.split("L").length === 16)).toBeDefined();
    answer(id, "done", { looked: 60, lines: 60, left_out: 0 });
    await settle();
    expect([said(), find(".cl-lost").textContent]).toEqual(["", "NaN at step 0, w-0"]);
    await feed(...training(80, 90));
    expect(asked()).toHaveLength(1);
  });

  it("are reported as missing if they cannot be read", async () => {
    await behind();
    model.emit("msg:custom", { type: "found", id: asked()[0].id, done: true, error: { code: "MissingExtra", message: "this needs pyarrow, which is not installed" } }, []);
    await settle();
    expect(said()).toBe("only of the lines loaded here");
    expect(find(".cl-of").title).toContain("pyarrow");
    expect(names()).toEqual(["loss", "acc"]);
  });

  it("are not requested while no view shows a chart, and no longer when it is closed", async () => {
    await behind();
    find(".cl-chead .cl-x").click();
    await settle();
    expect(model.sent.at(-1)).toMatchObject({ type: "stop", id: asked()[0].id });
  });
});

describe("curves", () => {
  function curvesOf(values: (string | number)[]): { time: Float64Array; value: Float64Array; seq: Float64Array; step: Float64Array } {
    const store = new TaskStore(TASK);
    const curves = new Curves(store);
    for (let at = 0; at < values.length; at += 1000) {
      store.addLog(logEvent(at, values.slice(at, at + 1000).map((value, i): Line => [T0 + at + i, 1, `loss=${value}`])));
      while (curves.isBehind) curves.read(Infinity);
    }
    return curves.build(1)[0];
  }

  it("with very many points keep the visible ones, as they were written", () => {
    const values: (number | string)[] = Array.from({ length: 50_000 }, (_unused, i) => (i * 7919) % 997);
    values[12_345] = 5000;
    values[33_333] = -7;
    values[44_444] = "nan";
    const { value, seq: kept } = curvesOf(values);
    expect(value.length).toBeLessThan(4200);
    for (const number of [0, 12_345, 33_333, 44_444, 49_999]) expect(kept).toContain(number);
    expect([...kept].every((number, i) => Object.is(value[i], Number(values[number] === "nan" ? Number.NaN : values[number])))).toBe(true);
  });

  it("use the epoch of their source as the step, but not for older lines that come later", () => {
    const store = new TaskStore(TASK);
    store.addLog(logEvent(10, [[T0, 1, "Epoch 3/5"], [T0 + 1, 1, "loss=1"], [T0 + 2, 2, "loss=2"]]));
    const curves = new Curves(store);
    curves.read(Infinity);
    store.addPage({ records: [{ seq: 1, time: new Date(T0 - 50).toISOString(), pod: W0.pod, container: "main", text: "loss=9" }, { seq: 2, time: new Date(T0 - 40).toISOString(), pod: W0.pod, container: "main", text: "Epoch 2/5" }] });
    store.addLog(logEvent(20, [[T0 + 5, 1, "loss=0.5"]]));
    curves.read(Infinity);
    const [first, second] = curves.build(1).filter(({ name }) => name === "loss");
    expect([[...first.value], [...first.step], [...second.step]]).toEqual([[9, 1, 0.5], [Number.NaN, 3, 3], [Number.NaN]]);
  });

  it("have the step that a later row of their table names, also if that comes later", () => {
    const store = new TaskStore(TASK);
    const curves = new Curves(store);
    const texts = ["-----", "| rollout/ | |", "|    ep_rew_mean | 9.5 |", "|    total_timesteps | 2048 |", "-----", "|    ep_rew_mean | 12 |", "|    total_timesteps | 4096 |"];
    for (const [i, text] of texts.entries()) {
      store.addLog(logEvent(1 + 2 * i, [[T0 + i, 1, text], [T0 + i, 2, "between"]]));
      curves.read(Infinity);
    }
    expect(curves.build(1).map(({ name, value, step }) => [name, [...value], [...step]])).toEqual([["rollout/ep_rew_mean", [9.5], [2048]], ["ep_rew_mean", [12], [4096]]]);
  });

  it("are limited to a hundred metrics", () => {
    const store = new TaskStore(TASK);
    store.addLog(logEvent(0, Array.from({ length: 150 }, (_unused, i): Line => [T0 + i, 1, `key${"abcdefghij"[i % 10]}${String.fromCharCode(97 + Math.floor(i / 10))}=${i}`])));
    const curves = new Curves(store);
    curves.read(Infinity);
    expect([curves.build(1).length, curves.omittedMetrics]).toEqual([100, 50]);
  });
});

describe("axes", () => {
  it("have round values, on a logarithmic scale powers of ten", () => {
    expect(makeScale(0.03, 2.3, false, 4).ticks).toEqual([0, 0.5, 1, 1.5, 2]);
    expect(makeScale(0.001, 50, true, 3).ticks).toEqual([0.001, 0.1, 10]);
    expect(makeScale(-1, 1, true, 2).at(0)).toBeCloseTo(0.5);
    expect(makeScale(3, 3, false, 2).at(3)).toBeCloseTo(0.5);
    expect([0.25, 0.0003, 12_500, 3e6, 40, Number.NaN, -Infinity].map((value) => formatNumber(value))).toEqual(["0.25", "3e-4", "12.5k", "3M", "40", "NaN", "−∞"]);
  });
});

describe("legend, smoothing, and a typed step", () => {
  const legend = (): HTMLElement[] => all(".cl-legend button");
  const curves = (): SVGElement[] => [...all(".cl-plot")[0].querySelectorAll<SVGElement>(".cl-pc path")];
  const pale = (): boolean[] => curves().map((path) => path.classList.contains("cl-pale"));
  const picked = (): string[] => all(".cl-picked .cl-m").map((element) => element.textContent ?? "");

  async function choose(label: string): Promise<void> {
    find('[aria-label="Smooth the curves, or go to a step"]').click();
    all(".cl-chart .cl-menu button").find(({ textContent }) => textContent === label)!.click();
    await settle();
  }

  async function typeStep(text: string): Promise<string> {
    await choose("A step…");
    const input = find<HTMLInputElement>(".cl-prompt input");
    input.value = text;
    input.form!.requestSubmit();
    await settle();
    return find(".cl-prompt [role=alert]").textContent ?? "";
  }

  it("the legend has the colours of the list of sources, and makes other curves pale", async () => {
    show({ chart: "time" });
    await feed(...training(0, 60));
    const colours = (selector: string): string[] => all(selector).map((element) => element.style.cssText);
    expect(legend()).toHaveLength(2);
    expect(colours(".cl-legend .cl-s").toSorted()).toEqual(curves().map(({ style }) => style.cssText).toSorted());
    expect(legend().map(({ textContent }) => textContent!.replace("● ", ""))).toEqual(["w-0", "w-1"]);
    expect(pale()).toEqual([false, false]);
    legend()[0].click();
    await settle();
    expect([legend()[0].getAttribute("aria-pressed"), pale().filter(Boolean).length]).toEqual(["true", 1]);
    await feed(...training(60, 70));
    expect(pale().filter(Boolean)).toHaveLength(1);
    legend()[0].click();
    await settle();
    expect(pale()).toEqual([false, false]);
  });

  it("one curve needs no legend", async () => {
    show({ chart: "time" });
    await feed(...training(0, 60).filter(([, source]) => source === 1));
    expect(find(".cl-legend").hidden).toBe(true);
  });

  it("curves are smoothed if the user wants it, and stay visible as they are", async () => {
    show({ chart: "step" });
    const noisy = Array.from({ length: 100 }, (_unused, i): Line => [T0 + i * 1000, 1, `step=${i} loss=${i % 2 === 0 ? 1 : 3}`]);
    await feed(...noisy);
    const heights = (path: Element): number[] => [...path.getAttribute("d")!.matchAll(/[ML]\S+ (\S+?)(?=L|h|$)/g)].map(([, y]) => Number(y));
    const swing = (path: Element): number => Math.max(...heights(path).slice(40)) - Math.min(...heights(path).slice(40));
    const before = swing(find(".cl-pc path"));
    expect(find(".cl-raw path").getAttribute("d")).toBe("");
    await choose("Over 20 points");
    expect(model.traits.chart_smooth).toBe(20);
    expect(swing(find(".cl-pc path"))).toBeLessThan(before / 5);
    expect(swing(find(".cl-raw path"))).toBe(before);
    await choose("As they are");
    expect(swing(find(".cl-pc path"))).toBe(before);
  });

  it("smoothing begins anew after a gap and where steps start over", () => {
    const { NaN: gap } = Number;
    expect([...smoothed(Float64Array.of(0, 1, 2, 3), Float64Array.of(4, 4, gap, 10), 5)]).toEqual([4, 4, gap, 10]);
    expect([...smoothed(Float64Array.of(0, 1, 0, 1), Float64Array.of(2, 2, 8, 8), 5)]).toEqual([2, 2, 8, 8]);
    const [first, second] = smoothed(Float64Array.of(0, 1), Float64Array.of(0, 1), 3);
    expect([first, second]).toEqual([0, 1 / 1.5]);
  });

  it("a typed step leads to its line, or to the nearest one", async () => {
    show({ chart: "time" });
    await feed(...training(0, 100));
    expect(await typeStep("40")).toBe("");
    expect(picked()[0]).toContain("step=40");
    expect(await typeStep("1_000")).toBe("");
    expect(picked()[0]).toContain("step=99");
    expect(await typeStep("many")).toContain("write the number of a step");
  });
});
