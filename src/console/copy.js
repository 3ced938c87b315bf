// The button that copies a text.

import { announce, el } from "./dom.js";

/** `what` names the text to people who do not see the page; `text` gives it when pressed. */
export function copyButton(what, text) {
  let timer;
  const button = el("button", {
    type: "button",
    class: "quiet copy",
    "aria-label": `Copy ${what}`,
    onclick: async () => {
      const done = (await copy(text())) ? "Copied" : "Not copied";
      button.textContent = done;
      announce(`${done}: ${what}`);
      clearTimeout(timer);
      timer = setTimeout(() => (button.textContent = "Copy"), 1600);
    },
  }, "Copy");
  return button;
}

/** Whether `text` is on the clipboard now. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Only https and localhost have `navigator.clipboard`.
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = el("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
