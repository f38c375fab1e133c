/** The viewer's style sheet: once per document, and per shadow root where a host shows cells in one. */

/** Gives a function that styles an element wherever it will be, and says when it is not needed any more. */
export function makeStyler(css: string): (element: HTMLElement) => void {
  if (css === "") return () => {};
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);

  const adopt = (root: Node): void => {
    if ((root instanceof Document || root instanceof ShadowRoot) && !root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
  };
  adopt(document);
  return (element) => {
    // Where it is shown is known when it has a size: hosts fill an element before they attach it.
    const shown = new ResizeObserver(() => {
      if (!element.isConnected) return;
      shown.disconnect();
      adopt(element.getRootNode());
    });
    shown.observe(element);
  };
}
