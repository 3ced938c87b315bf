// Which page the address names: `#/connect/python` is the page `connect` with the argument
// `python`. It lives in the fragment, so the server needs to know one address only.

/** Calls `show(name, args)` now and whenever the address changes. Returns what ends that. */
export function route(show) {
  const read = () => {
    const [name, ...args] = location.hash.replace(/^#\/?/, "").split("/").map(decode);
    show(name, args);
  };
  addEventListener("hashchange", read);
  read();
  return () => removeEventListener("hashchange", read);
}

/** Notes a choice made on the page in its address, without leaving the page. */
export function note(name, ...args) {
  history.replaceState(null, "", `#/${[name, ...args].map(encodeURIComponent).join("/")}`);
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
