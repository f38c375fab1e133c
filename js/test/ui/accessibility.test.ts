// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { type Line, sse, T0, TASK } from "../helpers.ts";
import { all, feed, find, model, page, session, settle, show } from "../page.ts";

page({ now: T0 });

const lines = (n: number, from = 0): Line[] => Array.from({ length: n }, (_unused, i): Line => [T0 + (from + i) * 10, 1, `line ${from + i}`]);
const press = (target: HTMLElement, key: string, more: KeyboardEventInit = {}): KeyboardEvent => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
};
const picked = (): string[] => all(".cl-picked .cl-m").map(({ textContent }) => textContent!);

describe("what screen readers announce", () => {
  it("is the state, and nothing that counts up", async () => {
    show();
    await feed(...lines(40));
    const announced: string[] = [];
    const regions = all("[role=status], [role=alert], [role=log], [aria-live]").filter((one) => one.getAttribute("aria-live") !== "off");
    const observer = new MutationObserver((records) => announced.push(...records.map(({ target }) => target.textContent!)));
    for (const region of regions) observer.observe(region, { childList: true, characterData: true, subtree: true });
    for (let i = 40; i < 70; i += 10) await feed(...lines(10, i));
    await settle(3000);
    expect(announced).toEqual([]);
    press(find("[role=log]"), "F");
    for (let i = 70; i < 100; i += 10) await feed(...lines(10, i));
    await settle(3000);
    expect(find(".cl-foot").textContent).toContain("lines waiting");
    model.bytes(sse("end", { task: TASK, seq: 100, state: "succeeded", exit_code: 0, message: "Job complete exit 0" }, "c100"));
    await settle();
    expect([...new Set(announced)]).toEqual(["Paused", "Job complete exit 0"]);
    observer.disconnect();
  });
});

describe("a picked line", () => {
  it("moves with the arrow keys, is announced, and takes no key if nothing is picked", async () => {
    show();
    await feed(...lines(10));
    const log = find("[role=log]");
    expect(press(log, "ArrowDown").defaultPrevented).toBe(false);
    all("[data-seq] .cl-t")[4].click();
    expect(press(log, "ArrowDown").defaultPrevented).toBe(true);
    expect(picked()).toEqual(["line 5"]);
    expect(find(".cl-pickbar [aria-live].cl-hid").textContent).toBe("line 5");
    press(log, "ArrowUp");
    press(log, "ArrowUp");
    expect(picked()).toEqual(["line 3"]);
    press(log, "ArrowDown", { shiftKey: true });
    expect(picked()).toEqual(["line 3", "line 4"]);
    press(log, "ArrowDown");
    expect(picked()).toEqual(["line 5"]);
    press(log, "Escape");
    expect(press(log, "ArrowDown").defaultPrevented).toBe(false);
  });

  it("that is far away is left, and the first visible line is picked", async () => {
    show();
    await feed(...lines(500));
    all("[data-seq] .cl-t").at(-1)!.click();
    press(find("[role=log]"), "g");
    await settle();
    press(find("[role=log]"), "ArrowDown", { shiftKey: true });
    expect(picked()).toEqual(["line 0"]);
  });
});

describe("the focus", () => {
  it("stays on a button of an opened row when the row is drawn again", async () => {
    show();
    await feed([T0, 1, '{"level": "info", "message": "saved", "step": 3, "path": "a"}'], ...lines(3, 1));
    find("button.cl-tw").click();
    await settle();
    const key = all("button.cl-key").find(({ textContent }) => textContent === "step")!;
    key.focus();
    key.click();
    await settle();
    expect(document.activeElement?.textContent).toBe("step");
    expect(document.activeElement?.getAttribute("aria-pressed")).toBe("true");
  });

  it("stays on the button of a notice that is opened", async () => {
    show();
    await feed(...lines(3));
    model.bytes(sse("gap", { task: TASK, seq: 3, reason: "rotated away", hint: "allow nodes/proxy" }, "c3"));
    await settle();
    for (const isOpen of ["true", "false"]) {
      const why = find("[data-notice=gap] button");
      why.focus();
      why.click();
      await settle();
      expect(document.activeElement?.textContent).toBe("Why?");
      expect(document.activeElement?.getAttribute("aria-expanded")).toBe(isOpen);
    }
  });
});

describe("the focus in the filter bar", () => {
  it("goes on to the next chip when one is removed, and to the box after the last", async () => {
    show({ query: { since: "all", grep: ["a", "b"] } });
    await feed(...lines(3));
    for (const next of ["Remove: contains “b”", "Filter lines"]) {
      find(".cl-chip .cl-x").focus();
      find(".cl-chip .cl-x").click();
      await settle();
      expect(document.activeElement?.getAttribute("aria-label")).toBe(next);
    }
  });
});

describe("an input method", () => {
  const compose = (input: HTMLInputElement, text: string): void => {
    input.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
    for (let i = 1; i <= text.length; i++) {
      input.value = text.slice(0, i);
      input.dispatchEvent(new InputEvent("input", { bubbles: true, isComposing: true }));
    }
  };

  it("composes in the filter box: only the finished text filters, and its Enter makes no chip", async () => {
    show();
    await feed(...lines(3));
    const input = find<HTMLInputElement>("input[type=search]");
    compose(input, "にほん");
    await settle();
    // A change elsewhere does not take away what is being composed.
    session.change({ wrap: true });
    expect(input.value).toBe("にほん");
    expect(session.settings.filter.grep).toBe("");
    press(input, "Enter", { isComposing: true });
    press(input, "Escape", { isComposing: true });
    expect([session.settings.filter.include, input.value]).toEqual([[], "にほん"]);
    input.value = "日本";
    input.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true }));
    // Safari reports the Enter that ended the composition afterwards.
    press(input, "Enter", { keyCode: 229 } as KeyboardEventInit);
    await settle();
    expect([session.settings.filter.include, session.settings.filter.grep]).toEqual([[], "日本"]);
    press(input, "Enter");
    expect([session.settings.filter.include, session.settings.filter.grep]).toEqual([["日本"], ""]);
  });
});
