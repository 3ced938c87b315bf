// Connection Instructions: the addresses, the credential, and code to paste in each language.

import { codeBlock } from "./codeblock.js";
import { copyButton } from "./copy.js";
import { el } from "./dom.js";
import { passwordField } from "./password.js";
import { note } from "./router.js";
import { EXAMPLE, snippets, writeSnippet } from "./snippets.js";
import { tabs } from "./tabs.js";
import { topicPicker } from "./topicpicker.js";

/** The page for the connection of the signed-in `credential`; `args` may name a language. */
export function connectPage({ connection, credential, args }) {
  const refresh = (shown) => {
    if (shown !== undefined) page.classList.toggle("revealed", shown);
    reader.refresh();
    write.replaceChildren(...writeBlock(connection, password.value()));
  };
  const ownPassword = credential.username === connection.username ? credential.password : "";
  const password = passwordField(connection.password, ownPassword, refresh);
  const topic = topicPicker(connection.topics, EXAMPLE.topic, () => refresh());

  const current = () => snippets(connection, password.value() || "PASSWORD", topic.value());
  const languages = current();
  const first = languages.find(({ id }) => id === args[0]) ?? languages[0];
  const reader = tabs("Client", languages, first.id, (id) => {
    note("connect", id);
    const snippet = current().find((snippet) => snippet.id === id);
    // What stands for a password is no secret.
    return readBlocks({ ...snippet, secret: password.value() && snippet.secret });
  });
  const write = el("div", {}, ...writeBlock(connection, password.value()));

  const page = el("div", { class: "page" },
    el("header", { class: "masthead" },
      el("h1", { tabindex: "-1" }, "Connect"),
      el("p", { class: "lead" }, "What a client needs to read this account’s events, ",
        "over Kafka or plain HTTP, with one username and password.")),
    facts(connection, password),
    section("read", "Read a topic", topic.element, reader.element),
    section("write", "Write a record",
      el("p", { class: "hint" }, "Each write that changes something becomes one event in ",
        el("code", {}, EXAMPLE.topic), "."),
      write),
    el("footer", {}, `Tidelog ${connection.version}`));
  return page;
}

function facts(connection, password) {
  const { kafka, http } = connection;
  return el("div", { class: "facts" },
    card("Kafka",
      fact("Bootstrap servers", kafka.bootstrap),
      fact("Security protocol", kafka.security_protocol),
      fact("SASL mechanism", kafka.sasl_mechanism)),
    card("HTTP", fact("URL", http.url), row("Authentication", null, "Basic, with the credential")),
    card("Credential",
      fact("Username", connection.username),
      row("Password", connection.password === null && "password", ...password.nodes)));
}

function card(title, ...rows) {
  return el("section", { class: "card", "aria-label": title },
    el("h2", {}, title), el("dl", {}, ...rows));
}

function fact(name, value) {
  return row(name, null, el("code", {}, value), copyButton(name.toLowerCase(), () => value));
}

function row(name, input, ...nodes) {
  return el("div", {}, el("dt", {}, input ? el("label", { for: input }, name) : name),
    el("dd", {}, ...nodes.filter(Boolean)));
}

function section(id, title, ...nodes) {
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...nodes);
}

function readBlocks({ install, file, code, run, language, secret }) {
  return [
    codeBlock({ title: "Install", code: install, language: "shell" }),
    codeBlock({ title: file ?? "Paste into a shell", code, language, secret }),
    run && codeBlock({ title: "Run", code: run, language: "shell" }),
  ].filter(Boolean);
}

function writeBlock(connection, password) {
  const { code, secret } = writeSnippet(connection, password || "PASSWORD");
  const title = "Paste into a shell to write";
  return [codeBlock({ title, code, language: "shell", secret: password && secret })];
}
