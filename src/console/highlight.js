// Code as nodes: comments and strings apart from the rest, and the secret in elements of its own,
// so that it can be masked on screen and yet be there when the text is selected and copied.

import { el } from "./dom.js";

/** The nodes of `code`, whose text content is `code`. */
export function highlight(code, language, secret) {
  const nodes = [];
  let end = 0;
  for (const token of code.matchAll(TOKENS[language] ?? TOKENS.java)) {
    const kind = Object.keys(token.groups).find((name) => token.groups[name] !== undefined);
    nodes.push(...masked(code.slice(end, token.index), secret));
    nodes.push(el("span", { class: `code-${kind}` }, ...masked(token[0], secret)));
    end = token.index + token[0].length;
  }
  nodes.push(...masked(code.slice(end), secret));
  return nodes;
}

function masked(text, secret) {
  if (!secret) return [text];
  return text.split(secret).flatMap((part, i) =>
    i === 0 ? [part] : [el("span", { class: "secret" }, secret), part]);
}

const DOUBLE = String.raw`"(?:[^"\\\n]|\\.)*"`;
const WORDS = "import|from|package|public|static|class|void|new|var|try|catch|finally|while|for|if" +
  "|else|return|def|const|await|async|func|defer|use|fn|let|in|is|not|raise|except|continue|pass";

const tokens = (comment, string) => new RegExp(
  `(?<comment>(?<![^\\s])(?:${comment}).*)|(?<string>${string})|(?<word>\\b(?:${WORDS})\\b)`, "g");

const TOKENS = {
  shell: /(?<comment>(?<=^|\s)#.*)|(?<string>'[^']*')|(?<word>(?<=^|\n)[a-z]+(?= ))/g,
  python: tokens("#", DOUBLE),
  java: tokens("//", DOUBLE),
  javascript: tokens("//", `${DOUBLE}|\`[^\`]*\``),
  go: tokens("//", DOUBLE),
  rust: tokens("//", DOUBLE),
};
