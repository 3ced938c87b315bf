// The frame around the pages: signed out it is the sign-in form, signed in the bar and one page.

import { ApiError, get } from "./api.js";
import { connectPage } from "./connect.js";
import { el } from "./dom.js";
import { route } from "./router.js";
import { endSession, session, startSession } from "./session.js";
import { signInPage } from "./signin.js";
import { wordmark } from "./wordmark.js";

/** The pages by their name in the address; the first is shown when the address names none. */
const PAGES = { connect: { title: "Connect", show: connectPage } };

const app = document.getElementById("app");
let leave = () => {};

start();

async function start() {
  const credential = session();
  if (!credential) return signedOut();
  try {
    signedIn(await get("v1/connection", credential), credential);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) endSession();
    signedOut(error.message);
  }
}

function signedOut(error) {
  leave();
  document.title = "Sign in · Tidelog";
  const enter = async (credential) => {
    const connection = await get("v1/connection", credential);
    startSession(credential);
    signedIn(connection, credential);
    app.querySelector("h1").focus();
  };
  app.replaceChildren(signInPage(enter, error));
  app.querySelector("input").focus();
}

function signedIn(connection, credential) {
  const main = el("main", { id: "main" });
  app.replaceChildren(bar(connection), main);
  leave = route((name, args) => {
    const [known, page] = PAGES[name] ? [name, PAGES[name]] : Object.entries(PAGES)[0];
    document.title = `${page.title} · Tidelog`;
    mark(known);
    main.replaceChildren(page.show({ connection, credential, args }));
  });
}

function bar(connection) {
  return el("header", { class: "bar" },
    el("a", { class: "skip", href: "#main", onclick: skip }, "Skip to the page"),
    wordmark(),
    navigation(),
    el("p", { class: "account" },
      el("span", { class: "label" }, "Account "), el("strong", {}, connection.account)),
    el("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out"));
}

/** One page needs no way to the others. */
function navigation() {
  const pages = Object.entries(PAGES);
  return pages.length > 1 && el("nav", { "aria-label": "Pages" },
    ...pages.map(([name, page]) => el("a", { href: `#/${name}`, "data-page": name }, page.title)));
}

function mark(name) {
  for (const link of app.querySelectorAll("nav a")) {
    link.setAttribute("aria-current", link.dataset.page === name ? "page" : "false");
  }
}

// The fragment is the router's, so the link moves the focus itself.
function skip(event) {
  event.preventDefault();
  app.querySelector("h1").focus();
}

function signOut() {
  endSession();
  signedOut();
}
