// The literals of the snippets, read back by the languages themselves.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import * as quote from "../../src/console/quote.js";

const HOSTILE = [
  "", "kq-8_Zr==", "it's", `"`, "\\", "\\u0041", `a\\"b`, "$HOME `id` !x %s ${y}", "two\nlines\t\r",
  "\u0001\u007f", "\u200b\ufeff\u202e", "é 潮 🌊", `"; import os; os.abort() #`, "'; exit 1; '",
];

test("a shell word means the bytes it was made from", () => {
  for (const text of HOSTILE) {
    const read = execFileSync("bash", ["-c", `printf %s ${quote.shell(text)}`]);
    assert.equal(read.toString(), text);
  }
});

test("a JavaScript literal means the text it was made from", () => {
  for (const text of HOSTILE) assert.equal(Function(`return ${quote.javascript(text)}`)(), text);
});

test("a Python literal means the text it was made from", () => {
  const list = `[${HOSTILE.map(quote.python).join(", ")}]`;
  const read = execFileSync("python3", ["-c", `import json; print(json.dumps(${list}))`]);
  assert.deepEqual(JSON.parse(read), HOSTILE);
});

test("a literal of a compiled language stands on one line and hides nothing", () => {
  for (const text of HOSTILE) {
    for (const literal of [quote.java, quote.go, quote.rust, quote.jaas].map((q) => q(text))) {
      assert.match(literal, /^"(?:[^"\\\n\r\t]|\\.)*"$/u, literal);
    }
  }
  assert.equal(quote.java("\n\u200b"), '"\\012\\u200b"');
  assert.equal(quote.go("\n"), '"\\U0000000a"');
  assert.equal(quote.rust("\n"), '"\\u{a}"');
  assert.equal(quote.jaas('a"\\\n'), '"a\\"\\\\\\012"');
});
