// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { LoadError, type Panels } from "../../src/ui/panelslot.ts";
import * as panels from "../../src/ui/panels.ts";
import { T0 } from "../helpers.ts";
import { all, feed, find, isShown, model, page, settle, show, viewer } from "../page.ts";

page({ now: T0 + 100_000, settled: 700 });

/** What the page does with each request for the panels' code. */
let requests: { answer(code: Panels): void; fail(reason: Error): void }[];
const loads = (): Promise<Panels> => new Promise((answer, fail) => requests.push({ answer, fail }));
const refused = new LoadError({ message: "The code of this panel could not be loaded: the server answered 502", hint: "If it fails again, reload the page." });
const press = (key: string): void => void find(".cl-rows").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const again = (): HTMLElement => find(".cl-unloaded button");
/** The tests have one viewer in the document. */
const focused = (): Element | null => document.activeElement;

beforeEach(() => {
  requests = [];
});

describe("a panel whose code is a script of its own", () => {
  it("has its place from the beginning, and leaves the focus where it is", async () => {
    show({}, loads);
    await feed([T0, 1, "loss=2"], [T0 + 1000, 1, "loss=1"]);
    expect(requests).toHaveLength(0);
    find(".cl-rows").focus();
    press("p");
    expect([find(".cl-chart").hidden, find(".cl-chart").getAttribute("aria-label"), viewer.root.classList.contains("cl-charted")]).toEqual([false, "Chart of the metrics", true]);
    await settle(250);
    expect(find(".cl-chart").textContent).not.toContain("Loading");
    await settle(100);
    expect(find(".cl-chart").textContent).toContain("Loading…");
    requests[0].answer(panels);
    await settle();
    expect(all(".cl-chart")).toHaveLength(1);
    expect(all(".cl-pn").map(({ textContent }) => textContent)).toEqual(["loss"]);
    expect(focused()).toBe(find(".cl-rows"));
    press("p");
    press("p");
    expect([find(".cl-chart").hidden, requests.length]).toEqual([false, 1]);
  });

  it("that is closed while it is loaded stays closed", async () => {
    show({ chart: "time" }, loads);
    await feed([T0, 1, "loss=2"], [T0 + 1000, 1, "loss=1"]);
    find('.cl-chart [aria-label="Close the panel"]').click();
    expect(model.traits.chart).toBe("");
    requests[0].answer(panels);
    await settle();
    expect(find(".cl-chart").hidden).toBe(true);
  });

  it("says why it could not be loaded, and can be tried again, also by keys", async () => {
    show({ chart: "time" }, loads);
    await feed([T0, 1, "loss=2"], [T0 + 1000, 1, "loss=1"]);
    requests[0].fail(refused);
    await settle();
    expect(find(".cl-chart [role=alert]").textContent).toBe(`${refused.message}${refused.hint}Try again`);
    again().focus();
    again().click();
    expect(requests).toHaveLength(2);
    requests[1].fail(refused);
    await settle();
    expect(focused()).toBe(again());
    again().click();
    requests[2].answer(panels);
    await settle();
    expect(all(".cl-unloaded")).toHaveLength(0);
    expect(all(".cl-pn").map(({ textContent }) => textContent)).toEqual(["loss"]);
    expect(focused()).toBe(find(".cl-chart button"));
  });

  it("reports that the code for charts is missing, whichever of the two comes first", async () => {
    show({ chart: "time" }, loads);
    await feed([T0, 1, "loss=2"]);
    vi.spyOn(console, "error").mockImplementation(() => {});
    viewer.chartFailed("the server answered 502");
    requests[0].answer(panels);
    await settle();
    expect(find(".cl-chart").textContent).toContain("The code for charts could not be loaded: the server answered 502");
  });
});

describe("the list of keys", () => {
  it("opens once its code is there", async () => {
    show({}, loads);
    press("?");
    expect([isShown(find(".cl-help")), requests.length]).toEqual([false, 1]);
    requests[0].answer(panels);
    await settle();
    expect([isShown(find(".cl-help")), all(".cl-help kbd").length > 20]).toEqual([true, true]);
    press("?");
    press("?");
    expect([isShown(find(".cl-help")), requests.length]).toEqual([true, 1]);
  });

  it("says why its code could not be loaded", async () => {
    show({}, loads);
    press("?");
    requests[0].fail(refused);
    await settle();
    expect([isShown(find(".cl-help")), find(".cl-help").textContent]).toEqual([true, `${refused.message}${refused.hint}Try again`]);
    again().focus();
    again().click();
    requests[1].answer(panels);
    await settle();
    expect([isShown(find(".cl-help")), all(".cl-help kbd").length > 20]).toEqual([true, true]);
  });
});
