// The sign-in form.

import { el } from "./dom.js";
import { wordmark } from "./wordmark.js";

/**
 * @param enter takes {username, password}; it throws what is wrong with them
 * @param error why the last session ended, if it ended by itself
 */
export function signInPage(enter, error) {
  const username = field("username", "Username", { autocomplete: "username" });
  const password = field("password", "Password",
    { type: "password", autocomplete: "current-password" });
  const problem = el("p", { class: "problem", role: "alert", id: "problem" });
  const button = el("button", { class: "primary" }, "Sign in");

  const complain = (text) => {
    problem.textContent = text;
    password.input.setAttribute("aria-invalid", "true");
    password.input.setAttribute("aria-describedby", "problem");
    password.input.select();
    password.input.focus();
  };
  const submit = async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-busy")) return;
    button.setAttribute("aria-busy", "true");
    problem.textContent = "";
    try {
      await enter({ username: username.input.value, password: password.input.value });
    } catch (reason) {
      complain(reason.message);
    }
    button.removeAttribute("aria-busy");
  };
  if (error) problem.textContent = error;

  return el("div", { class: "signin" },
    el("div", { class: "sea", "aria-hidden": "true" }),
    el("main", {},
      wordmark(),
      el("h1", { tabindex: "-1" }, "Sign in"),
      el("p", { class: "hint" }, "With the username and password of an account. ",
        el("code", {}, "tidelog dev"), " prints both when it starts."),
      el("form", { onsubmit: submit }, username.row, password.row, problem, button)));
}

function field(id, label, props) {
  const input = el("input", {
    id, name: id, required: true, autocapitalize: "none", spellcheck: "false", ...props });
  return { input, row: el("div", { class: "field" }, el("label", { for: id }, label), input) };
}
