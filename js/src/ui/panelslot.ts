/** The places of panels whose code is a script of its own (panels.ts). The script is started when the first of them is shown. */

import { button, focusedIn, focusOn, h, setHidden } from "./dom.ts";

export type Panels = typeof import("./panels.ts");

/** Return the panels' code. It rejects with a `LoadError`, and the next call tries again. */
export type LoadPanels = () => Promise<Panels>;

/** Code that could not be loaded, and what a user can do. */
export class LoadError extends Error {
  readonly hint: string;

  constructor({ message, hint }: { message: string; hint: string }) {
    super(message);
    this.hint = hint;
  }
}

/** A user notices nothing of a load that takes less than this (ms). */
const UNNOTICED_MS = 300;

/** Return an alert that says why code could not be loaded, with a button that tries again. */
export function loadFailure({ message, hint }: LoadError, retry: () => void): HTMLElement {
  return h("div", { class: "cl-unloaded", role: "alert" }, h("p", {}, message), h("p", { class: "cl-dim" }, hint), button("Try again", "Try again", retry, { class: "btn cl-outline" }));
}

interface Panel {
  readonly element: HTMLElement;
}

/** Run `change`, which replaces what is in `element`. If the focus was there, it moves to the first button of what `change` returns. */
function keepFocus(element: HTMLElement, change: () => HTMLElement): void {
  const had = focusedIn(element) !== null;
  const next = change();
  if (had) focusOn(next.querySelector("button"));
}

/** A place beside the lines. Until the panel's code is loaded, an empty box has the panel's size. */
export class PanelSlot<P extends Panel> {
  panel: P | undefined;
  #content = h("div", {});
  #box: HTMLElement;
  #isLoading = false;

  readonly #load: LoadPanels;
  readonly #make: (panels: Panels) => P;

  /** `name` and `className` belong to the panel. `make` returns the panel when it is opened. */
  constructor(name: string, className: string, load: LoadPanels, make: (panels: Panels) => P, close: () => void) {
    this.#load = load;
    this.#make = make;
    const header = h("div", { class: "cl-bar cl-chead" }, h("span", { class: "cl-grow" }), button("×", "Close the panel", close, { class: "btn cl-x" }));
    this.#box = h("div", { class: className, role: "group", "aria-label": name, hidden: true }, header, this.#content);
  }

  get element(): HTMLElement {
    return this.panel?.element ?? this.#box;
  }

  show(isShown: boolean): void {
    setHidden(this.element, !isShown);
    if (isShown && this.panel === undefined && !this.#isLoading) void this.#start();
  }

  async #start(): Promise<void> {
    this.#isLoading = true;
    const slow = setTimeout(() => keepFocus(this.#content, () => {
      this.#content.replaceChildren(h("p", { class: "cl-dim" }, "Loading…"));
      return this.#box;
    }), UNNOTICED_MS);
    try {
      const panel = this.#make(await this.#load());
      this.panel = panel;
      keepFocus(this.#box, () => {
        this.#box.replaceWith(panel.element);
        return panel.element;
      });
    } catch (reason) {
      keepFocus(this.#content, () => {
        this.#content.replaceChildren(loadFailure(reason as LoadError, () => void this.#start()));
        return this.#content;
      });
    } finally {
      clearTimeout(slow);
      this.#isLoading = false;
    }
  }
}

/** Fill a popover with what `make` returns before it is first shown. It opens when the code is there, or has failed. */
export function fillOnDemand(popover: HTMLElement, load: LoadPanels, make: (panels: Panels) => Node[]): void {
  let isFilled = false;
  let mayOpen = false;
  const fill = async (): Promise<void> => {
    let content: Node[];
    try {
      content = make(await load());
      isFilled = true;
    } catch (reason) {
      content = [loadFailure(reason as LoadError, () => void fill())];
    }
    keepFocus(popover, () => {
      popover.replaceChildren(...content);
      return popover;
    });
  };
  popover.addEventListener("beforetoggle", (event) => {
    if ((event as ToggleEvent).newState !== "open") mayOpen = isFilled;
    else if (!mayOpen) {
      event.preventDefault();
      void fill().then(() => {
        mayOpen = true;
        if (popover.isConnected) popover.showPopover();
      });
    }
  });
}
