/** One question over the lines, answered on the keyboard: a time to go to, a note on a line. */

import { h, setText } from "./dom.ts";

export class Prompt {
  #label = h("label", {});
  #input = h("input", { type: "text", class: "cl-input", spellcheck: "false", autocomplete: "off", "aria-describedby": "cl-prompt-error" });
  #error = h("span", { class: "cl-le", role: "alert" });
  readonly element = h("div", { class: "cl-prompt", role: "dialog", "aria-label": "Question", hidden: true }, this.#label, this.#input, this.#error);
  #answer: (text: string) => string = () => "";

  constructor(private readonly onClose: () => void) {
    this.#label.append(h("span", {}));
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        const error = this.#answer(this.#input.value);
        setText(this.#error, error);
        if (error === "") this.close();
      } else if (event.key === "Escape") this.close();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#input.addEventListener("blur", () => (this.element.hidden = true));
  }

  /** Asks; `answer` gives what is wrong with an answer, "" for nothing. */
  ask(question: string, placeholder: string, value: string, answer: (text: string) => string): void {
    setText(this.#label.firstChild as HTMLElement, question);
    this.element.setAttribute("aria-label", question);
    this.#input.setAttribute("aria-label", question);
    this.#input.placeholder = placeholder;
    this.#input.value = value;
    setText(this.#error, "");
    this.#answer = answer;
    this.element.hidden = false;
    this.#input.focus({ preventScroll: true });
    this.#input.select();
  }

  close(): boolean {
    if (this.element.hidden) return false;
    this.element.hidden = true;
    this.onClose();
    return true;
  }
}
