// The password of the connection: shown masked when the server tells it, asked for when not.

import { copyButton } from "./copy.js";
import { el } from "./dom.js";

/**
 * @param known the password, or null when the server does not tell it
 * @param typed what to put into the field when it is null
 * @param changed called when the password changes, and with whether to show it
 * @returns {nodes, value}: `value()` is the password now
 */
export function passwordField(known, typed, changed) {
  let shown = false;
  const input = known === null && el("input", {
    id: "password", type: "password", autocomplete: "off", spellcheck: "false",
    placeholder: "Type it to fill in the snippets", "aria-describedby": "password-hint",
    oninput: () => changed(shown),
  });
  if (input) input.value = typed;
  const value = () => (input ? input.value : known);
  const text = el("code", { class: "secret" }, known ?? "");

  const reveal = el("button", {
    type: "button", class: "quiet", "aria-pressed": "false", "aria-label": "Reveal password",
    onclick: () => {
      shown = !shown;
      reveal.textContent = shown ? "Hide" : "Reveal";
      reveal.setAttribute("aria-pressed", String(shown));
      if (input) input.type = shown ? "text" : "password";
      changed(shown);
    },
  }, "Reveal");

  const hint = input && el("p", { class: "hint", id: "password-hint" },
    "Not kept in clear by the server. What you type stays in this page.");
  return { nodes: [input || text, reveal, copyButton("password", value), hint], value };
}
