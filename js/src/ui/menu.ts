/**
 * A button with a menu below it. Escape, a choice or a click elsewhere closes the menu; the arrow keys move within it. Why it is
 * no `popover`: architecture.md, "Viewer".
 */

import { h } from "./dom.ts";

/** Limits of a menu's height (px). Between them, it takes the room below its button. */
const MIN_HEIGHT_PX = 120;
const MAX_HEIGHT_PX = 300;

export interface MenuItem {
  label: string;
  act: () => void;
  /** Whether the entry has a mark, because it is the current choice or is switched on. */
  checked?: boolean;
  /** The menu stays open after a choice. */
  staysOpen?: boolean;
}

export class Menu {
  readonly element: HTMLElement;
  readonly button: HTMLButtonElement;
  #list = h("div", { class: "cl-menu", role: "menu", hidden: true });

  readonly #items: () => (MenuItem | string)[];

  constructor(label: string, title: string, items: () => (MenuItem | string)[], more = "btn") {
    this.#items = items;
    this.button = h("button", { type: "button", class: more, title, "aria-label": title, "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => this.#toggle() }, label);
    this.element = h("span", { class: "cl-pop" }, this.button, this.#list);
    this.element.addEventListener("focusout", (event: FocusEvent) => {
      if (event.relatedTarget !== null && !this.element.contains(event.relatedTarget as Node)) this.#close();
    });
    this.element.addEventListener("keydown", (event) => this.#key(event));
  }

  get #open(): boolean {
    return !this.#list.hidden;
  }

  #toggle(): void {
    if (this.#open) this.#close();
    else this.#show();
  }

  #close(): boolean {
    const was = this.#open;
    this.#list.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    if (was) document.removeEventListener("pointerdown", this.#outside, true);
    return was;
  }

  readonly #outside = (event: Event): void => {
    if (!event.composedPath().includes(this.element)) this.#close();
  };

  #show(focus = 0): void {
    this.#fill();
    this.#list.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", this.#outside, true);
    // Stay within the viewer, which clips what is outside.
    const { left, right, bottom } = this.element.closest(".cortex-logs")?.getBoundingClientRect() ?? { left: 0, right: 0, bottom: 0 };
    const at = this.element.getBoundingClientRect();
    const toTheRight = at.left + this.#list.offsetWidth < right;
    this.#list.style.left = toTheRight ? "0" : "auto";
    this.#list.style.maxHeight = `${Math.max(MIN_HEIGHT_PX, Math.min(MAX_HEIGHT_PX, bottom - at.bottom - 8))}px`;
    this.#list.style.right = toTheRight ? "auto" : `${Math.min(0, at.right - left - this.#list.offsetWidth)}px`;
    this.#buttons[focus]?.focus();
  }

  get #buttons(): HTMLButtonElement[] {
    return [...this.#list.querySelectorAll("button")];
  }

  #fill(): void {
    const several = (item: MenuItem): string => (item.checked === undefined ? "menuitem" : item.staysOpen ? "menuitemcheckbox" : "menuitemradio");
    this.#list.replaceChildren(
      ...this.#items().map((item) => {
        if (typeof item === "string") return h("div", { class: "cl-mh" }, item);
        const act = (): void => {
          const focus = this.#buttons.indexOf(document.activeElement as HTMLButtonElement);
          if (!item.staysOpen) {
            this.#close();
            this.button.focus({ preventScroll: true });
          }
          item.act();
          if (item.staysOpen) this.#show(Math.max(0, focus));
        };
        return h("button", { type: "button", role: several(item), "aria-checked": item.checked === undefined ? undefined : String(item.checked), tabindex: "-1", onclick: act }, item.label);
      }),
    );
  }

  #key(event: KeyboardEvent): void {
    if (!this.#open) return;
    const buttons = this.#buttons;
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) buttons[(to + buttons.length) % buttons.length]?.focus();
    else if (event.key === "Escape") {
      this.#close();
      this.button.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
