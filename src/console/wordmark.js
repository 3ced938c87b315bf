// The product's name with its mark.

import { el } from "./dom.js";

export function wordmark() {
  return el("p", { class: "wordmark" }, el("img", { src: "mark.svg", alt: "" }), "Tidelog");
}
