// The console as a person uses it, in a real browser against a running Tidelog.
//
//   TIDELOG_HTTP       its base URL, such as http://127.0.0.1:8080
//   TIDELOG_USERNAME, TIDELOG_PASSWORD   of an account
//   TIDELOG_SHOTS      a folder for screenshots; none are taken without it

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { snippets, writeSnippet } from "../../src/console/snippets.js";
import { launch, open } from "./browser.mjs";

const { TIDELOG_HTTP: http, TIDELOG_USERNAME: username, TIDELOG_PASSWORD: password } = process.env;
const shots = process.env.TIDELOG_SHOTS;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
let connection;

before(async () => {
  assert.ok(http && username && password, "TIDELOG_HTTP, _USERNAME and _PASSWORD are required");
  connection = await read("/v1/connection");
  browser = await launch();
});
after(() => browser?.close());

test("every file is served with the policy that allows only its own origin", async () => {
  const response = await fetch(`${http}/console`);
  assert.equal(response.url, `${http}/console/`);
  const policy = response.headers.get("content-security-policy");
  for (const rule of ["default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) {
    assert.ok(policy?.includes(rule), `${rule} in ${policy}`);
  }
});

test("a wrong password shows the error of the API and signs nobody in", async () => {
  const { page, context, faults } = await open(browser);
  await page.goto(`${http}/console/`);
  const answer = page.waitForResponse((response) => response.url().endsWith("/v1/connection"));
  await signIn(page, username, `${password}x`);
  const { error } = await (await answer).json();
  await page.getByRole("alert").filter({ hasText: error }).waitFor();
  assert.ok(error, "the API says what is wrong");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.ok(await page.getByLabel("Password").evaluate((e) => e === document.activeElement));
  // The browser itself logs the 401.
  assert.deepEqual(faults.filter((fault) => !fault.includes("401")), []);
  await context.close();
});

test("the keyboard alone signs in, moves through the tabs and signs out", async () => {
  const { page, context, faults } = await open(browser);
  await page.goto(`${http}/console/`);
  await page.getByLabel("Username").waitFor();
  await page.keyboard.type(username);
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Connect", exact: true }).waitFor();

  await page.getByRole("tab", { name: "kcat" }).focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await focusedText(page), "Java");
  await page.keyboard.press("End");
  assert.equal(await focusedText(page), "curl");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focusedText(page), "kcat");

  await page.reload();
  await page.getByRole("heading", { name: "Connect", exact: true }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

test("the page shows the addresses, and the password only when asked", async () => {
  const { page, context, faults } = await signedIn();
  for (const value of [connection.kafka.bootstrap, connection.http.url, connection.username]) {
    await page.locator("dd code").filter({ hasText: value }).waitFor();
  }
  const masks = () => page.locator(".secret").evaluateAll((secrets) =>
    [...new Set(secrets.map((e) => getComputedStyle(e).webkitTextSecurity))]);
  assert.deepEqual(await masks(), ["disc"]);
  await page.getByRole("button", { name: "Reveal password" }).click();
  assert.deepEqual(await masks(), ["none"]);
  assert.deepEqual(faults, []);
  await context.close();
});

test("every snippet shown is the one generated, with the real values, and is what Copy copies",
  async () => {
    const { page, context, faults } = await signedIn({
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const topic = "tide.of_the-day";
    if (connection.topics.length > 0) {
      await page.getByLabel("Topic", { exact: true }).selectOption({ label: "Another topic…" });
      await page.getByLabel("Name of the topic").fill(topic);
    } else {
      await page.getByLabel("Topic", { exact: true }).fill(topic);
    }
    const generated = snippets(connection, password, topic);
    assert.equal(generated.length, 7);
    for (const { label, file, code, secret } of generated) {
      await page.getByRole("tab", { name: label, exact: true }).click();
      const title = file ?? "Paste into a shell";
      const block = page.getByRole("region", { name: title, exact: true });
      assert.equal(await block.textContent(), code, label);
      const address = label === "curl" ? connection.http.url : connection.kafka.bootstrap;
      for (const value of [address, connection.username, secret, topic]) {
        assert.ok(code.includes(value), `${label}: ${value}`);
      }
      await page.getByRole("button", { name: `Copy ${title}`, exact: true }).click();
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), code);
    }
    const write = page.getByRole("region", { name: "Paste into a shell to write" });
    assert.equal(await write.textContent(), writeSnippet(connection, password).code);
    assert.deepEqual(faults, []);
    await context.close();
  });

test("copying works where the origin is not a secure context", async () => {
  const { page, context, faults } = await signedIn({}, () =>
    Object.defineProperty(Navigator.prototype, "clipboard", { value: undefined }));
  await page.getByRole("button", { name: "Copy bootstrap servers" }).click();
  await page.getByRole("button", { name: "Copy bootstrap servers" }).getByText("Copied").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Username").fill("");
  await page.keyboard.press("Control+V");
  assert.equal(await page.getByLabel("Username").inputValue(), connection.kafka.bootstrap);
  assert.deepEqual(faults, []);
  await context.close();
});

test("names that hold markup are shown as text", async () => {
  const markup = "<img src=x onerror=alert(1)>";
  const { page, context, faults } = await open(browser);
  await page.route("**/v1/connection", (route) => route.fulfill({
    json: { ...connection, account: markup, username: markup, topics: [markup], password: markup },
  }));
  await page.goto(`${http}/console/`);
  await signIn(page, markup, markup);
  await page.getByText(markup).first().waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  assert.deepEqual(faults, []);
  await context.close();
});

test("a password the server does not tell is asked for, and fills the snippets", async () => {
  const { page, context, faults } = await open(browser);
  await page.route("**/v1/connection", (route) => route.fulfill({
    json: { ...connection, topics: [], password: null },
  }));
  await page.goto(`${http}/console/`);
  await signIn(page, username, password);
  // The sign-in form has a field of that name too.
  await page.getByRole("heading", { name: "Connect", exact: true }).waitFor();
  await page.getByLabel("Password", { exact: true }).fill("o'clock");
  const block = page.getByRole("region", { name: "Paste into a shell", exact: true });
  assert.match(await block.textContent(), /sasl\.password='o'\\''clock'/);
  for (const name of await page.getByRole("tab").allTextContents()) {
    await page.getByRole("tab", { name, exact: true }).click();
    const seen = await page.locator("pre code").evaluateAll((blocks) => blocks.map((code) => {
      const copy = code.cloneNode(true);
      copy.querySelectorAll(".secret").forEach((secret) => secret.remove());
      return copy.textContent;
    }).join());
    assert.ok(!/o'|clock/.test(seen), `${name} shows the password`);
  }
  await audit(page);
  await shoot(page, "typed-password");
  assert.deepEqual(faults, []);
  await context.close();
});

for (const [look, options] of Object.entries({
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  narrow: { colorScheme: "light", viewport: { width: 360, height: 740 } },
})) {
  test(`the ${look} look is accessible and fits its width`, async () => {
    const { page, context, faults } = await open(browser, options);
    await page.goto(`${http}/console/`);
    await page.getByLabel("Username").waitFor();
    await audit(page);
    await shoot(page, `${look}-sign-in`);
    await signIn(page, username, password);
    await page.getByRole("tab", { name: "Python" }).click();
    await audit(page);
    const overflow = () => document.documentElement.scrollWidth - innerWidth;
    assert.ok(await page.evaluate(overflow) <= 0, "nothing sticks out sideways");
    await shoot(page, `${look}-connect`);
    assert.deepEqual(faults, []);
    await context.close();
  });
}

async function read(path) {
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const response = await fetch(`${http}${path}`, { headers: { authorization } });
  assert.equal(response.status, 200, path);
  return response.json();
}

async function signedIn(options, script) {
  const opened = await open(browser, options);
  if (script) await opened.page.addInitScript(script);
  await opened.page.goto(`${http}/console/`);
  await signIn(opened.page, username, password);
  await opened.page.getByRole("heading", { name: "Connect", exact: true }).waitFor();
  return opened;
}

async function signIn(page, user, secret) {
  await page.getByLabel("Username").fill(user);
  await page.getByLabel("Password").fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();
}

const focusedText = (page) => page.evaluate(() => document.activeElement.textContent);

async function audit(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), []);
}

async function shoot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}
