// Starts the server and a real Chromium for the tests; ends both by what it started.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const READY = /Amphi is ready at (http:\/\/\S+)/;
const READY_LIMIT_MS = 30_000;
/** The server ends broadcasts and finishes recordings before it leaves. */
const LEAVE_LIMIT_MS = 30_000;

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
  // Publisher and viewer are tabs of one browser: neither may sleep while the other is in front.
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
  "--use-fake-device-for-media-stream",
];

/** What is to be done at a test's end, the last first: a process goes before its folder. */
const ends = new WeakMap();

function atEnd(t, act) {
  const acts = ends.get(t) ?? [];
  acts.push(act);
  if (ends.has(t)) return;
  ends.set(t, acts);
  t.after(async () => {
    for (const act of acts.reverse()) await act();
  });
}

/** A folder that is gone after the test. */
export async function folder(t, name) {
  const path = await mkdtemp(join(tmpdir(), `amphi-${name}-`));
  atEnd(t, () => rm(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

/** A port that was free a moment ago, for a server that must come back at the same address. */
export async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/**
 * Runs `amphi serve --dev` until the test ends; with a `secret`, as an operator does.
 * `env` holds settings, as `AMPHI_RTC_TCP`. `kill()` ends it as a crash would, `stop()` as an operator would.
 */
export async function serve(t, { data, http = "127.0.0.1:0", rtc = "127.0.0.1:0", secret, env = {}, log = process.env.AMPHI_TEST_LOG } = {}) {
  const binary = process.env.AMPHI_BIN;
  if (!binary) throw new Error("set AMPHI_BIN to the amphi binary, for example target/debug/amphi");
  const dir = data ?? (await folder(t, "data"));
  if (secret) env = { AMPHI_AUTH_SECRET: secret, ...env };
  const child = spawn(binary, ["serve", ...(secret ? [] : ["--dev"]), "--http", http, "--rtc", rtc, "--data", dir], {
    stdio: ["ignore", "pipe", "pipe"],
    // Those that start with AMPHI_ are settings to the server; the tests' own are not.
    env: { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("AMPHI_"))), ...env },
  });
  const exited = once(child, "exit");
  const told = [];
  const listen = (stream, seen) => createInterface({ input: stream }).on("line", (line) => {
    told.push(line);
    if (told.length > 400) told.shift();
    if (log) process.stderr.write(`  amphi: ${line}\n`);
    seen?.(line);
  });
  const leave = async (signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const limit = setTimeout(() => child.kill("SIGKILL"), LEAVE_LIMIT_MS);
    await exited;
    clearTimeout(limit);
  };
  atEnd(t, () => leave("SIGTERM"));

  const base = await new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`the server was not ready in time:\n${told.join("\n")}`)), READY_LIMIT_MS);
    const seen = (line) => {
      const found = READY.exec(line);
      if (!found) return;
      clearTimeout(limit);
      resolve(found[1].replace(/\/$/, ""));
    };
    listen(child.stdout, seen);
    listen(child.stderr);
    exited.then(([code, signal]) => {
      clearTimeout(limit);
      reject(new Error(`the server left (${code ?? signal}) before it was ready:\n${told.join("\n")}`));
    });
  });
  return { base, dir, told, pid: child.pid, kill: () => leave("SIGKILL"), stop: () => leave("SIGTERM") };
}

/** The pipelines' processes of a server. */
export async function childrenOf(pid) {
  const tasks = await readdir(`/proc/${pid}/task`);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, "utf8").catch(() => "")));
  return lists.join(" ").split(/\s+/).filter(Boolean).map(Number);
}

/** The only one. */
export async function childOf(pid) {
  const [child] = await childrenOf(pid);
  if (!child) throw new Error("the server has no child");
  return child;
}

/** The profile of each browser: its processes are found by it. */
export const profiles = new Map();

/** The process that does a browser's networking: stopped, the browser has no network. */
export async function networkOf(profile) {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (command.includes("network.mojom.NetworkService") && command.includes(profile)) return Number(pid);
  }
  throw new Error("the browser has no network process");
}

/** A Chromium with a profile (and preferences) of its own, until the test ends. */
export async function browser(t, options = {}) {
  const { args = [], preferences, ...rest } = options;
  const profile = await folder(t, "chromium");
  if (preferences) {
    await mkdir(join(profile, "Default"));
    await writeFile(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  }
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [...CHROMIUM_FLAGS, ...args],
    viewport: { width: 1280, height: 800 },
    permissions: ["camera", "microphone"],
    ...rest,
  });
  profiles.set(context, profile);
  atEnd(t, () => context.close());
  return context;
}

/**
 * Opens a page, in a window of its own: of a tab behind another, hardly a frame is drawn. What it
 * complains of is kept in `page.complaints`.
 */
export async function open(context, url) {
  const browser = await context.newCDPSession(context.pages()[0]);
  const [page] = await Promise.all([
    context.waitForEvent("page"),
    browser.send("Target.createTarget", { url: "about:blank", newWindow: true }),
  ]);
  await browser.detach();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    // A CSP violation is an error of the page, wherever it comes from.
    if (/Content Security Policy/.test(message.text())) page.complaints.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** Of pages whose machine would be another: drawing them large is not what is tested. */
export const SMALL = { width: 640, height: 480 };

/** Publishes the test clock into a room, and returns the page once it is live. */
export async function publishClock(context, base, room, query = "") {
  const page = await open(context, `${base}/publish/${room}?source=clock${query}`);
  await page.getByRole("button", { name: "Go live" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 20_000 });
  return page;
}

/** Opens a speaker's page and goes live. */
export async function speak(context, base, room, name) {
  const page = await open(context, `${base}/publish/${room}?name=${name}&identity=${name}`);
  await page.getByRole("button", { name: "Go live" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.publishing === "live", null, { timeout: 20_000 });
  return page;
}

/** Waits until the watch page shows this: `waiting`, `playing`, `ended` … */
export function untilShow(page, name, timeout = 20_000) {
  return page.waitForFunction((wanted) => document.documentElement.dataset.show === wanted, name, { timeout });
}

/** Waits until pictures move. */
export async function untilMoving(page, timeout = 60_000) {
  await page.waitForFunction(() => {
    const video = document.querySelector("hls-video")?.nativeEl;
    return video && video.readyState >= 3 && !video.paused && video.currentTime > 0;
  }, null, { timeout });
  const before = await page.evaluate(() => document.querySelector("hls-video").nativeEl.currentTime);
  await page.waitForFunction(
    (then) => document.querySelector("hls-video").nativeEl.currentTime > then + 0.5, before, { timeout });
}

/** Asks until `check` is content with the answer; the last refusal is the error. */
export async function until(check, { timeout = 20_000, every = 200 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    try {
      const found = await check();
      if (found) return found;
      if (Date.now() > end) throw new Error("it did not come true in time");
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/** Runs in the page before its own scripts: its peer connections, for their statistics. */
export function keepConnections(settings = {}) {
  const Original = RTCPeerConnection;
  window.connections = [];
  window.RTCPeerConnection = class extends Original {
    constructor(configuration) {
      super({ ...configuration, ...settings });
      window.connections.push(this);
    }
  };
}

/** The path that each of a page's connections has chosen. */
export function chosenPaths(page) {
  return page.evaluate(() => Promise.all(window.connections.map(async (connection) => {
    const stats = await connection.getStats();
    let chosen = null;
    stats.forEach((stat) => {
      if (stat.type === "transport") chosen = stats.get(stat.selectedCandidatePairId);
    });
    const local = chosen && stats.get(chosen.localCandidateId);
    return local && { kind: local.candidateType, protocol: local.protocol, relay: local.relayProtocol, address: stats.get(chosen.remoteCandidateId).address };
  })));
}

export function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
