// The choice of a topic: one that exists, or one typed.

import { el } from "./dom.js";

const OTHER = "";

/**
 * @param topics the names of those that exist
 * @param example the name to start with when there are none
 * @param changed called at each choice
 * @returns {element, value}: `value()` is the topic chosen now
 */
export function topicPicker(topics, example, changed) {
  const select = topics.length > 0 && el("select", {
    id: "topic",
    onchange: () => {
      typed.hidden = select.value !== OTHER;
      if (!typed.hidden) typed.focus();
      changed();
    },
  }, ...topics.map((name) => el("option", { value: name }, name)),
  el("option", { value: OTHER }, "Another topic…"));

  const typed = el("input", {
    id: select ? "other-topic" : "topic", "aria-label": select ? "Name of the topic" : null,
    spellcheck: "false", autocapitalize: "none", placeholder: example,
    hidden: Boolean(select), oninput: changed,
  });
  if (!select) typed.value = example;

  const value = () => (select && select.value !== OTHER ? select.value : typed.value || example);
  const element = el("div", { class: "field topic" },
    el("label", { for: "topic" }, "Topic"), select, typed,
    !select && el("p", { class: "hint" },
      "The account has no topics yet. The lines under “Write a record” make this one."));
  return { element, value };
}
