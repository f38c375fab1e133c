/** Helpers that make and change elements. None of them parses markup, so text always stays text. */

type Attributes = Record<string, string | number | boolean | ((event: never) => void) | undefined>;
type Child = Node | string | null | undefined;

/** Return an element. A button never submits a form: the viewer may be inside a form of a notebook's page. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (tag === "button") element.setAttribute("type", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    // Setting the attribute would violate a strict Content-Security-Policy.
    else if (name === "style") element.style.cssText = String(value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

export function svg(tag: string, attributes: Record<string, string>): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Set an element's text if it differs. Setting an equal text would cause a layout, and screen readers would announce it again. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute if it differs. Setting an equal one would still repaint an SVG drawing. */
export function setAttr(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Hide or show an element. */
export function setHidden(element: HTMLElement, hidden: boolean): void {
  if (element.hidden !== hidden) element.hidden = hidden;
}

export function setStyle(element: HTMLElement, name: "height" | "top" | "transform", value: string): void {
  if (element.style[name] !== value) element.style[name] = value;
}

export function setClass(element: HTMLElement, name: string, on: boolean): void {
  if (element.classList.contains(name) !== on) element.classList.toggle(name, on);
}

export function button(label: string, title: string, onclick: () => void, more: Attributes = {}): HTMLButtonElement {
  return h("button", { title, "aria-label": title, class: "btn", onclick, ...more }, label);
}

/** Copy a text. Without `navigator.clipboard` (on plain http) use the old `execCommand`. */
export async function copyToClipboard(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const focused = document.activeElement as HTMLElement | null;
  const area = h("textarea", { style: "position:fixed;opacity:0" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focusOn(focused);
  if (!done) throw new Error("this page may not write to the clipboard");
}

/** Return what has the focus within an element, which may be in a shadow root; null for nothing. */
export function focusedIn(element: HTMLElement): HTMLElement | null {
  const focused = (element.getRootNode() as Document | ShadowRoot).activeElement as HTMLElement | null;
  return element.contains(focused) ? focused : null;
}

/** Focus an element without scrolling the page to it. */
export function focusOn(element: HTMLElement | null | undefined): void {
  element?.focus({ preventScroll: true });
}

export function listen<K extends keyof HTMLElementEventMap>(element: HTMLElement, name: K, act: (event: HTMLElementEventMap[K]) => void, options?: AddEventListenerOptions): void {
  element.addEventListener(name, act, options);
}
