// Code as nodes: comments and strings apart from the rest, and the secret in elements of its own,
// so that it can be masked on screen and yet be there when the text is selected and copied.

import { el } from "./dom.js";

/** The nodes of `code`, whose text content is `code`. Every part of the secret is masked. */
export function highlight(code, language, secret) {
  const secrets = [];
  for (let at = secret ? code.indexOf(secret) : -1; at >= 0; at = code.indexOf(secret, at + 1)) {
    secrets.push({ start: at, end: at + secret.length });
  }
  return segments(code, TOKENS[language]).flatMap(({ start, end, kind }) => {
    const parts = masked(code, start, end, secrets);
    return kind ? [el("span", { class: `code-${kind}` }, ...parts)] : parts;
  });
}

/** The tokens and what is between them, as {start, end, kind}, without gaps. */
function segments(code, tokens) {
  const found = [];
  let start = 0;
  for (const token of code.matchAll(tokens)) {
    const kind = Object.keys(token.groups).find((name) => token.groups[name] !== undefined);
    const end = token.index + token[0].length;
    found.push({ start, end: token.index }, { start: token.index, end, kind });
    start = end;
  }
  return [...found, { start, end: code.length }];
}

/** `code` from `start` to `end`; what lies within a secret, even in part, is an element. */
function masked(code, start, end, secrets) {
  const nodes = [];
  let at = start;
  for (const secret of secrets) {
    const [from, to] = [Math.max(secret.start, at), Math.min(secret.end, end)];
    if (from >= to) continue;
    nodes.push(code.slice(at, from), el("span", { class: "secret" }, code.slice(from, to)));
    at = to;
  }
  return [...nodes, code.slice(at, end)];
}

const DOUBLE = String.raw`"(?:[^"\\\n]|\\.)*"`;
const WORDS = "import|from|package|public|static|class|void|new|var|try|catch|finally|while|for" +
  "|if|else|return|def|const|await|async|func|defer|use|fn|let|in|is|raise|except|continue|pass";
// The first word of a line is the command; `'\\''` is a quote within a word.
const SHELL = String.raw`(?<comment>(?<=^|\s)#.*)|(?<string>'[^']*'(?:\\''[^']*')*)` +
  String.raw`|(?<word>(?<=^|\n)[a-z][a-z0-9]*(?= ))`;

const tokens = (comment, string) => new RegExp(
  `(?<comment>(?<![^\\s])(?:${comment}).*)|(?<string>${string})|(?<word>\\b(?:${WORDS})\\b)`, "g");

const TOKENS = {
  shell: new RegExp(SHELL, "g"),
  python: tokens("#", DOUBLE),
  java: tokens("//", DOUBLE),
  javascript: tokens("//", `${DOUBLE}|\`[^\`]*\``),
  go: tokens("//", DOUBLE),
  rust: tokens("//", DOUBLE),
};
