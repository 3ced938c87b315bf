// How a value is written as a literal in each language of the snippets.
//
// **Whatever bytes a password or a topic holds, the literal is one token and means those bytes**:
// the quote and the backslash are escaped, and so is every control and format character, since
// some languages refuse them raw.

/** A POSIX shell word. */
export const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The value of an option in a JAAS configuration, as Kafka's Java client parses it. */
export const jaas = (text) => quoted(text, octal);

export const java = (text) => quoted(text, (point) => (point < 0x20 ? octal(point) : utf16(point)));
export const javascript = (text) => quoted(text, braces);
export const rust = (text) => quoted(text, braces);
export const go = (text) => quoted(text, (point) => `\\U${hex(point, 8)}`);
export const python = go;

function quoted(text, escape) {
  const body = text.replace(/["\\]|\p{C}/gu, (char) =>
    char === '"' || char === "\\" ? `\\${char}` : escape(char.codePointAt(0)));
  return `"${body}"`;
}

const hex = (number, width) => number.toString(16).padStart(width, "0");
const braces = (point) => `\\u{${hex(point, 1)}}`;

// Java translates \uXXXX before it looks for the end of a string, so a line feed must not be
// written that way.
const octal = (point) =>
  point > 0o377 ? String.fromCodePoint(point) : `\\${point.toString(8).padStart(3, "0")}`;

const utf16 = (point) =>
  String.fromCodePoint(point).split("").map((unit) => `\\u${hex(unit.charCodeAt(0), 4)}`).join("");
