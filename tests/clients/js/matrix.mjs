// What the JavaScript programs share: the sample records, and how a program tells of its scenarios.

import assert from "node:assert/strict";
import { fork } from "node:child_process";

export const { TIDELOG_BOOTSTRAP: BOOTSTRAP, TIDELOG_USERNAME: USERNAME, TIDELOG_PASSWORD: PASSWORD } =
  process.env;
// The authority to trust, where the broker speaks TLS.
export const CA = process.env.TIDELOG_CA;
// Of group members: "consumer" where the broker assigns.
export const PROTOCOL = process.env.TIDELOG_GROUP_PROTOCOL ?? "classic";
export const SESSION_TIMEOUT_MS = 6000;
export const WAIT_MS = 30_000;
export const CODECS = ["none", "gzip", "snappy", "lz4", "zstd"];
export const TOO_LARGE = Buffer.alloc(2_000_000, "x");

const bytes = (text) => Buffer.from(text);

// Six tiny batches, and one of about 900 KB.
export const SAMPLES = [
  { key: bytes("plain"), value: bytes("hello"), headers: { trace: bytes("abc"), empty: bytes("") } },
  { key: null, value: bytes("no key"), headers: {} },
  { key: bytes("gone"), value: null, headers: {} },
  { key: bytes("ключ"), value: bytes("naïve ☃ 東京"), headers: { naïve: bytes("☃") } },
  { key: bytes("empty"), value: bytes(""), headers: {} },
  { key: Buffer.from([0, 0xff]), value: Buffer.from(Array.from({ length: 256 }, (_, i) => i)), headers: {} },
  { key: bytes("large"), value: bytes("0123456789abcdef".repeat(56_250)), headers: {} },
];

export class Absent extends Error {}

export const absent = (reason) => () => {
  throw new Absent(reason);
};

export const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function expect(what, got, wanted) {
  assert.deepEqual(got, wanted, `${what}: ${show(got)}, not ${show(wanted)}`);
}

const show = (value) => `${JSON.stringify(value)}`.slice(0, 300);

// `records` are { offset, key, value, headers }, in the order they were read. A client that takes
// an empty value for none gives and gets null, which `empty` tells.
export function expectSamples(records, empty = bytes("")) {
  expect("how many records", records.length, SAMPLES.length);
  records.forEach((record, i) => {
    expect(`offset ${i}`, record.offset, i);
    for (const field of ["key", "value", "headers"]) {
      const wanted = SAMPLES[i][field];
      expect(`${field} of record ${i}`, record[field], wanted?.length === 0 ? empty : wanted);
    }
  });
}

export async function until(what, state, wanted) {
  const deadline = Date.now() + WAIT_MS;
  while (show(state()) !== show(wanted) && Date.now() < deadline) await sleep(50);
  expect(what, state(), wanted);
}

// This program again, as the member of the group `crash` that is to be killed.
const startMember = () => fork(process.argv[1], ["member"], { stdio: "ignore" });

// The scenarios of groups that are the same with each client. A member has `records`, the `count` of
// its partitions, and `close`.
export const groupScenarios = ({ createTopic, fill, read, member }) => ({
  async group() {
    await createTopic("group", 3);
    await fill("group", 3, 0, 5);
    const got = (await read("group", 15)).map((it) => `${it.partition} ${it.offset} ${it.value}`);
    expect("records", got.sort(), range(0, 15).map((i) => `${Math.floor(i / 5)} ${i % 5} ${i % 5}`));
  },

  async rebalance() {
    await createTopic("rebalance", 4);
    const [stays, leaves] = [await member("rebalance"), await member("rebalance")];
    await until("shared", () => [stays.count(), leaves.count()], [2, 2]);
    await leaves.close();
    await until("taken over", stays.count, 4);
    await stays.close();
  },

  async crash() {
    await createTopic("crash", 4);
    const [stays, crashes] = [await member("crash"), startMember()];
    await until("shared", stays.count, 2);
    crashes.kill("SIGKILL");
    await until("taken over", stays.count, 4);
    await stays.close();
  },
});

// Runs the scenarios named on the command line, or all, and prints a line for each.
export async function run(scenarios, member) {
  const names = process.argv.slice(2);
  if (names[0] === "member") return member();
  for (const name of names.length > 0 ? names : Object.keys(scenarios)) {
    let [ok, detail] = [true, ""];
    try {
      await scenarios[name]();
    } catch (error) {
      ok = error instanceof Absent ? null : false;
      detail = ok === null ? error.message : `${error.name}: ${error.message}`.split("\n")[0];
      if (ok === false) console.error(error);
    }
    console.log(JSON.stringify({ scenario: name, ok, detail }).replace(/":/g, '": '));
  }
  process.exit();
}
