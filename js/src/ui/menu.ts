/**
 * A button with a menu beside it. The browser opens and closes the menu as a popover: Escape, a click elsewhere, and the focus
 * afterwards. The style sheet anchors it to its button. The arrow keys move within it.
 */

import { h, listen } from "./dom.ts";

export interface MenuItem {
  label: string;
  act: () => void;
  /** Whether the entry has a mark, because it is the current choice or is switched on. */
  checked?: boolean;
  /** The menu stays open after a choice. */
  staysOpen?: boolean;
}

/** Return an element that holds a button and the panel that it opens beside itself. */
export function popover(button: HTMLButtonElement, panel: HTMLElement, onToggle: (isOpen: boolean) => void): HTMLElement {
  panel.popover = "auto";
  button.popoverTargetElement = panel;
  listen(panel, "beforetoggle", (event) => onToggle((event as ToggleEvent).newState === "open"));
  return h("span", { class: "cl-pop" }, button, panel);
}

export class Menu {
  readonly element: HTMLElement;
  readonly button: HTMLButtonElement;
  #list = h("div", { class: "cl-menu", role: "menu" });

  readonly #items: () => (MenuItem | string)[];

  constructor(label: string, title: string, items: () => (MenuItem | string)[], more = "btn") {
    this.#items = items;
    this.button = h("button", { class: more, title, "aria-label": title, "aria-haspopup": "menu" }, label);
    this.element = popover(this.button, this.#list, (isOpen) => isOpen && this.#fill());
    listen(this.#list, "focusout", (event: FocusEvent) => {
      if (event.relatedTarget !== null && !this.element.contains(event.relatedTarget as Node)) this.#list.hidePopover();
    });
    listen(this.#list, "keydown", (event) => this.#key(event));
  }

  get #buttons(): HTMLButtonElement[] {
    return [...this.#list.querySelectorAll("button")];
  }

  #fill(): void {
    const roleOf = (item: MenuItem): string => (item.checked === undefined ? "menuitem" : item.staysOpen ? "menuitemcheckbox" : "menuitemradio");
    this.#list.replaceChildren(
      ...this.#items().map((item) => {
        if (typeof item === "string") return h("div", { class: "cl-mh" }, item);
        return h("button", { role: roleOf(item), "aria-checked": item.checked === undefined ? undefined : String(item.checked), tabindex: "-1", onclick: () => this.#choose(item) }, item.label);
      }),
    );
    // The browser moves the focus there when it shows the menu.
    this.#buttons[0]?.setAttribute("autofocus", "");
  }

  #choose({ act, staysOpen }: MenuItem): void {
    // Hide first: an action may move the focus.
    if (!staysOpen) this.#list.hidePopover();
    act();
    if (staysOpen) this.refresh();
  }

  /** Show the entries as they are now, after what they depend on has changed. */
  refresh(): void {
    const at = this.#buttons.indexOf((this.#list.getRootNode() as Document | ShadowRoot).activeElement as HTMLButtonElement);
    this.#fill();
    if (at >= 0) this.#buttons[Math.min(at, this.#buttons.length - 1)]?.focus();
  }

  #key(event: KeyboardEvent): void {
    const buttons = this.#buttons;
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    buttons[(to + buttons.length) % buttons.length]?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}
