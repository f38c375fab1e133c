/** The dialog of the saved filters: save the present filter under a name, choose one, or delete it. */

import { visibleText } from "../text/ansi.ts";
import { errorMessage } from "../text/format.ts";
import { button, focusOn, h, listen, setHidden, setText } from "./dom.ts";
import type { SavedFilter, SavedFilters } from "./savedfilters.ts";

const MAX_FILTERS = 50;
const MAX_NAME_CHARS = 60;

/** Return the content of `dialog`. It is filled again each time the dialog opens. */
export function savedFiltersPanel(dialog: HTMLElement, saved: SavedFilters): Node[] {
  const list = h("div", {});
  const present = h("p", { class: "cl-dim" });
  const input = h("input", { class: "cl-input", type: "text", maxlength: MAX_NAME_CHARS, placeholder: "a name", "aria-label": "Name of the filter", dir: "auto", spellcheck: "false", autocomplete: "off" });
  const save = h("button", { class: "btn cl-outline" });
  save.type = "submit";
  const form = h("form", { class: "cl-bar" }, input, save);
  const error = h("p", { class: "cl-le", role: "alert" });

  const nameTyped = (): string => input.value.trim().replace(/\s+/g, " ");
  const showSave = (): void => setText(save, saved.read().some(({ name }) => name === nameTyped()) ? "Replace" : "Save");

  /** Store the filters, and show them. */
  const store = (filters: SavedFilter[]): void => {
    try {
      saved.write(filters);
      input.value = "";
      show();
    } catch (reason) {
      setText(error, `The browser did not store the filters: ${errorMessage(reason)}. Allow this page to store data.`);
    }
    focusOn(form.hidden ? dialog : input);
  };

  const row = (one: SavedFilter): HTMLElement => {
    const name = visibleText(one.name);
    const choose = (): void => {
      dialog.hidePopover();
      saved.apply(one);
    };
    const remove = (): void => store(saved.read().filter((other) => other.name !== one.name));
    return h("div", { class: "cl-bar" }, h("button", { class: "btn", onclick: choose }, name), h("span", { class: "cl-dim cl-grow cl-words" }, saved.describe(one)), button("×", `Delete: ${name}`, remove, { class: "btn cl-x" }));
  };

  const show = (): void => {
    const parts = saved.present;
    setText(present, parts === null ? "There is no filter to save now. The window and the choice of sources are not saved." : `Now: ${saved.describe(parts)}`);
    setHidden(form, parts === null);
    setText(error, "");
    showSave();
    list.replaceChildren(...saved.read().map(row));
  };

  listen(input, "input", showSave);
  listen(form, "submit", (event) => {
    event.preventDefault();
    const [name, parts] = [nameTyped(), saved.present];
    const others = saved.read().filter((one) => one.name !== name);
    if (name === "" || parts === null) setText(error, "Type a name for the filter.");
    else if (others.length >= MAX_FILTERS) setText(error, `${MAX_FILTERS} filters are saved. Delete one first.`);
    else store([...others, { name, ...parts }]);
  });
  listen(dialog, "beforetoggle", (event) => (event as ToggleEvent).newState === "open" && show());
  show();
  return [h("h3", {}, "Saved filters"), list, present, form, error];
}
