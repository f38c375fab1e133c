/** A viewer in a page, as a test sees and moves it. Time passes only in `settle`. */

import { afterEach, beforeEach, vi } from "vitest";
import { CommDownloads } from "../src/client/commdownload.ts";
import { Session } from "../src/client/session.ts";
import type { StoreClient } from "../src/client/storeclient.ts";
import * as panels from "../src/ui/panels.ts";
import type { LoadPanels } from "../src/ui/panelslot.ts";
import { Viewer } from "../src/ui/viewer.ts";
import { engineHub, type FakeModel, fakeModel, type Line, logEvent, sse } from "./helpers.ts";

/** The panels' code, at once. */
export const loadPanels: LoadPanels = async () => panels;

export let hub: StoreClient;
export let model: FakeModel;
export let session: Session;
export let viewer: Viewer;
/** The number of the next record. */
export const next = { seq: 0 };
let rest = 0;

/** Each test of the file has a page of its own. `now`: when it begins; `settled`: how long messages, frames and slices of a search take, ms. */
export function page({ now, settled = 120, faked = [] }: { now: number; settled?: number; faked?: "performance"[] }): void {
  beforeEach(() => {
    standInForPopovers();
    vi.useFakeTimers({ now, toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "requestAnimationFrame", "cancelAnimationFrame", ...faked] });
    vi.spyOn(console, "error").mockImplementation(() => {});
    next.seq = 0;
    rest = settled;
  });
  afterEach(() => {
    session?.close();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
}

/** Return whether a popover is shown. */
export const isShown = (element: HTMLElement): boolean => element.hasAttribute("data-shown");

/** happy-dom knows no popovers. Show and hide them as a browser does, with an attribute in place of `:popover-open`. */
function standInForPopovers(): void {
  if ("showPopover" in HTMLElement.prototype) return;
  const toggle = (element: HTMLElement, shows: boolean): void => {
    if (isShown(element) === shows) return;
    if (!element.dispatchEvent(Object.assign(new Event("beforetoggle", { cancelable: shows }), { newState: shows ? "open" : "closed" }))) return;
    element.toggleAttribute("data-shown", shows);
    if (shows) element.querySelector<HTMLElement>("[autofocus]")?.focus();
  };
  Object.assign(HTMLElement.prototype, {
    showPopover(this: HTMLElement) { toggle(this, true); },
    hidePopover(this: HTMLElement) { toggle(this, false); },
    togglePopover(this: HTMLElement) { toggle(this, !isShown(this)); },
  });
  document.addEventListener("click", ({ target }) => ((target as Element).closest("button")?.popoverTargetElement as HTMLElement | null | undefined)?.togglePopover());
}

export function show(traits: Record<string, unknown> = {}, loads = loadPanels): void {
  hub = engineHub();
  model = fakeModel(traits);
  session = new Session(model, hub, (send) => new CommDownloads(send));
  viewer = new Viewer(hub, session, loads);
  session.views.add(viewer);
  document.body.replaceChildren(viewer.root);
}

export const settle = (ms = rest): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
export const find = <T extends HTMLElement>(selector: string): T => viewer.root.querySelector<T>(selector)!;
export const all = (selector: string): HTMLElement[] => [...viewer.root.querySelectorAll<HTMLElement>(selector)];
export const messages = (): string[] => all("[data-seq] .cl-m").map((element) => element.textContent ?? "");

export async function feed(...lines: Line[]): Promise<void> {
  model.bytes(sse("log", logEvent(next.seq, lines), `c${next.seq}`));
  next.seq += lines.length;
  await settle();
}

export async function type(text: string): Promise<void> {
  const input = find<HTMLInputElement>("input[type=search]");
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  await settle();
}
