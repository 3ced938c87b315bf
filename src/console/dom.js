// Builds elements. **Every string becomes a text node or an attribute, never markup**, so a record,
// a topic or an error message cannot add elements to the page.

/**
 * @param tag the element's name
 * @param props attributes; `class` too; a function under `onclick`, `oninput` … is a listener;
 *   false, null and undefined leave the attribute out, true sets it empty
 * @param children nodes and strings; null and false are left out
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value !== false && value != null) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** Tells people who do not see the page what a press of a button did. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
