// A block of code with its name and a button that copies it.

import { copyButton } from "./copy.js";
import { el } from "./dom.js";
import { highlight } from "./highlight.js";

/** `title` says what to do with the code; `secret` in it is masked, but copied as it is. */
export function codeBlock({ title, code, language, secret }) {
  return el("figure", { class: "code" },
    el("figcaption", {}, title, copyButton(title, () => code)),
    el("pre", { tabindex: "0", role: "region", "aria-label": title },
      el("code", {}, ...highlight(code, language, secret))));
}
