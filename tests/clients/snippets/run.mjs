// Runs every snippet of the console against a running Tidelog, each with the tools of its own
// language, as someone would who pastes it: the install lines, the file, the run line.
//
//   node run.mjs [--only id,id] EXPECTED...
//
// Each EXPECTED text must appear in what a snippet prints. A snippet runs until it has printed them
// all, ends, or runs out of time. Tools that are not there are skipped, and fail with CI=true.
//
//   TIDELOG_HTTP       the base URL, such as http://127.0.0.1:8080
//   TIDELOG_USERNAME, TIDELOG_PASSWORD   of an account
//   TIDELOG_TOPIC      to read; the console's example when not set
//   TIDELOG_SNIPPETS   a folder to work in and keep, so that a second run installs less

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { EXAMPLE, snippets } from "../../../src/console/snippets.js";

const INSTALL_LIMIT_MS = 600_000;
const RUN_LIMIT_MS = 600_000; // covers the compilers that `go run` and `cargo run` start
const STOP_LIMIT_MS = 10_000;
const OUTPUT_LIMIT = 1 << 20;

const { values: options, positionals: expected } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string" } },
});

if (expected.length === 0) {
  console.error("usage: node run.mjs [--only id,id] EXPECTED...");
  process.exit(2);
}
process.exitCode = (await main()) ? 0 : 1;

async function main() {
  const { TIDELOG_USERNAME: username, TIDELOG_PASSWORD: password } = process.env;
  const connection = await readConnection(username, password);
  const topic = process.env.TIDELOG_TOPIC || EXAMPLE.topic;
  const all = snippets(connection, password, topic);
  const only = options.only?.split(",") ?? all.map(({ id }) => id);
  const chosen = all.filter(({ id }) => only.includes(id));
  if (chosen.length !== only.length) throw new Error(`--only takes ${all.map(({ id }) => id)}`);

  const folder = process.env.TIDELOG_SNIPPETS || mkdtempSync(join(tmpdir(), "snippets-"));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const snippet of chosen) counts[await check(snippet, join(folder, snippet.id))] += 1;
  if (!process.env.TIDELOG_SNIPPETS) rmSync(folder, { recursive: true, force: true });
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0;
}

async function readConnection(username, password) {
  const basic = Buffer.from(`${username}:${password}`).toString("base64");
  const response = await fetch(`${process.env.TIDELOG_HTTP}/v1/connection`, {
    headers: { authorization: `Basic ${basic}` },
  });
  if (!response.ok) throw new Error(`GET /v1/connection: ${response.status}`);
  return response.json();
}

async function check(snippet, folder) {
  const missing = snippet.needs.filter((tool) => spawnSync("which", [tool]).status !== 0);
  if (missing.length > 0) {
    const outcome = process.env.CI ? "failed" : "skipped";
    console.log(`${snippet.label}: ${outcome}, no ${missing.join(", ")} on the PATH`);
    return outcome;
  }
  mkdirSync(folder, { recursive: true });
  const env = environment(snippet, folder);
  const started = Date.now();

  // A snippet without a file is a command of the system, which is there: `needs` was met.
  if (snippet.file) {
    const installed = await shell(snippet.install, folder, env, INSTALL_LIMIT_MS, () => false);
    // In a folder that was kept, `go mod init` and `cargo init` find their work done.
    if (installed.code !== 0 && !process.env.TIDELOG_SNIPPETS) {
      return report(snippet, started, "failed", "install", installed);
    }
    const file = join(folder, snippet.file);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, snippet.code);
  }
  const complete = (output) => expected.every((text) => printed(output, text));
  const ran = await shell(snippet.run ?? snippet.code, folder, env, RUN_LIMIT_MS, complete);
  return report(snippet, started, complete(ran.stdout) ? "passed" : "failed", "run", ran);
}

/** The REST API answers a record's value as a JSON string, with its quotes escaped. */
function printed(output, text) {
  return output.includes(text) || output.includes(JSON.stringify(text).slice(1, -1));
}

/** `pip install` is refused outside a virtual environment on many systems. */
function environment({ id }, folder) {
  if (id !== "python") return process.env;
  const venv = join(folder, ".venv");
  spawnSync("python3", ["-m", "venv", venv], { stdio: "inherit" });
  return { ...process.env, PATH: `${join(venv, "bin")}:${process.env.PATH}` };
}

/** Runs shell lines as one process group; ends it as Ctrl-C does once `complete` holds. */
function shell(lines, cwd, env, limit, complete) {
  return new Promise((resolve) => {
    const child = spawn("bash", ["-ec", lines], { cwd, env, detached: true,
      stdio: ["ignore", "pipe", "pipe"] });
    const result = { stdout: "", stderr: "", code: null, late: false };
    let killer;
    const stop = () => {
      if (killer) return;
      signal(child, "SIGINT");
      killer = setTimeout(() => signal(child, "SIGKILL"), STOP_LIMIT_MS);
    };
    const timer = setTimeout(() => {
      result.late = true;
      stop();
    }, limit);
    for (const stream of ["stdout", "stderr"]) {
      child[stream].setEncoding("utf8").on("data", (text) => {
        result[stream] = (result[stream] + text).slice(-OUTPUT_LIMIT);
        if (complete(result.stdout)) stop();
      });
    }
    child.on("close", (code) => {
      clearTimeout(timer);
      clearTimeout(killer);
      resolve({ ...result, code });
    });
  });
}

function signal(child, name) {
  try {
    process.kill(-child.pid, name);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

function report({ label }, started, outcome, step, { stdout, stderr, code, late }) {
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(`${label}: ${outcome} in ${seconds} s`);
  if (outcome === "failed") {
    const absent = expected.filter((text) => !printed(stdout, text));
    const end = late ? "ran out of time" : `ended with ${code}`;
    console.log(`  ${step} ${end}; not printed: ${JSON.stringify(absent)}`);
    console.log(`${stdout}${stderr}`.trimEnd().split("\n").slice(-20).join("\n"));
  }
  return outcome;
}
