// Tabs as the ARIA practices describe them: one tab stop, arrow keys, Home and End.

import { el } from "./dom.js";

/**
 * @param label names the set
 * @param items [{id, label}]
 * @param selected the id of the first one shown
 * @param show returns the nodes of the panel for an id; called at each choice
 * @returns {element, refresh}: `refresh` shows the panel anew
 */
export function tabs(label, items, selected, show) {
  const panel = el("div", { id: "panel", role: "tabpanel", class: "panel" });
  const buttons = items.map((item) => el("button", {
    type: "button", role: "tab", id: `tab-${item.id}`, "aria-controls": "panel",
    onclick: () => choose(item.id),
  }, item.label));

  const choose = (id) => {
    selected = id;
    items.forEach((item, i) => {
      buttons[i].setAttribute("aria-selected", String(item.id === id));
      buttons[i].setAttribute("tabindex", item.id === id ? "0" : "-1");
    });
    panel.setAttribute("aria-labelledby", `tab-${id}`);
    panel.replaceChildren(...show(id));
  };
  const step = (event) => {
    const at = items.findIndex((item) => item.id === selected);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + items.length) % items.length;
    choose(items[next].id);
    buttons[next].focus();
  };

  const list = el("div", { role: "tablist", "aria-label": label, onkeydown: step }, ...buttons);
  choose(selected);
  return { element: el("div", { class: "tabs" }, list, panel), refresh: () => choose(selected) };
}
