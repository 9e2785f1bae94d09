// VS Code's real workbench in a headless Chromium, with the packed extension and the real server. The first argument
// names a scenario; the answer is one JSON object on stdout. What is needed stands in environment variables:
//   EDITORS   the folder that scripts/install-editors.sh filled     CHROMIUM  the browser
//   EXTENSION the .vsix                                             PROJECT   the folder that is opened
//   STATE     an empty folder for all that the editor writes        SHOTS     a folder for screenshots, or nothing

import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const { EDITORS, CHROMIUM, EXTENSION, PROJECT, STATE, SHOTS } = process.env;
const { chromium } = createRequire(join(EDITORS, "package.json"))("playwright-core");
const NODE = join(EDITORS, "node", "bin", "node");
const CODE = join(EDITORS, "node_modules", "code-server", "out", "node", "entry.js");
const PATIENCE = 45_000;
const JOB_PATIENCE = 400_000;

const SETTINGS = {
  "chat.disableAIFeatures": true,
  "editor.accessibilitySupport": "off",
  "extensions.ignoreRecommendations": true,
  "files.autoSave": "off",
  "files.exclude": { "**/.*": true, "**/__pycache__": true },
  "git.enabled": false,
  "security.workspace.trust.enabled": process.env.TRUST === "ask",
  "telemetry.telemetryLevel": "off",
  "window.commandCenter": false,
  "workbench.layoutControl.enabled": false,
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.colorTheme": "Default Dark Modern",
};

const folders = { data: join(STATE, "data"), extensions: join(STATE, "extensions"), config: join(STATE, "config.yaml") };

function environment() {
  return { ...process.env, HOME: STATE, XDG_CONFIG_HOME: join(STATE, "xdg"), XDG_DATA_HOME: join(STATE, "share") };
}

function codeServer(...args) {
  const common = ["--config", folders.config, "--user-data-dir", folders.data, "--extensions-dir", folders.extensions];
  return spawn(NODE, [CODE, ...common, ...args], { env: environment(), stdio: ["ignore", "pipe", "pipe"], detached: true });
}

async function install() {
  const settings = { ...SETTINGS, ...JSON.parse(process.env.SETTINGS ?? "{}") };
  for (const level of ["User", "Machine"]) {
    // Paths of programs belong to the machine that the files are on, which need not be the user's.
    mkdirSync(join(folders.data, level), { recursive: true });
    writeFileSync(join(folders.data, level, "settings.json"), JSON.stringify(settings));
  }
  writeFileSync(folders.config, "");
  const installing = codeServer("--install-extension", EXTENSION);
  let text = "";
  for (const stream of [installing.stdout, installing.stderr]) stream.on("data", (chunk) => (text += chunk));
  const code = await new Promise((done) => installing.on("exit", done));
  if (code !== 0) throw new Error(`the extension could not be installed: ${text}`);
}

function freePort() {
  return new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

async function serve() {
  const port = await freePort();
  const flags = ["--auth", "none", "--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"];
  const server = codeServer("--bind-addr", `127.0.0.1:${port}`, ...flags, "--reconnection-grace-time", "5");
  let text = "";
  for (const stream of [server.stdout, server.stderr]) stream.on("data", (chunk) => (text += chunk));
  for (let tries = 0; tries < 300; tries++) {
    try {
      if ((await fetch(`http://127.0.0.1:${port}/healthz`)).ok) return { server, port };
    } catch {
      if (server.exitCode !== null) break;
    }
    await sleep(200);
  }
  process.kill(-server.pid, "SIGKILL");
  throw new Error(`code-server does not answer: ${text}`);
}

/** What a user does and sees. */
class Workbench {
  constructor(page) {
    this.page = page;
    this.answer = {};
    this.shots = 0;
  }

  async shot(name) {
    if (!SHOTS) return;
    this.shots += 1;
    await sleep(700); // animations
    await this.page.screenshot({ path: join(SHOTS, `${String(this.shots).padStart(2, "0")}-${name}.png`) });
  }

  locator(selector) {
    return this.page.locator(selector);
  }

  async see(selector, options = {}) {
    const found = this.locator(selector).first();
    await found.waitFor({ state: "visible", timeout: PATIENCE, ...options });
    return found;
  }

  async openFile(name) {
    await this.page.keyboard.press("Control+P");
    await this.see(".quick-input-widget input");
    await this.page.keyboard.type(name);
    await this.see(`.quick-input-list .monaco-list-row:has-text("${name}")`);
    await this.page.keyboard.press("Enter");
    await this.see(`.tab.active:has-text("${name}")`);
    await this.see(".editor-instance .view-line");
  }

  async goTo(line, column = 1) {
    await this.page.keyboard.press("Control+G");
    await this.see(".quick-input-widget input");
    await this.page.keyboard.type(`${line}:${column}`);
    await this.page.keyboard.press("Enter");
    await sleep(300);
  }

  async palette(text) {
    await this.page.keyboard.press("F1");
    const input = await this.see(".quick-input-widget input");
    await input.fill(`>${text}`);
    return await this.see(`.quick-input-list .monaco-list-row:has-text("${text}")`);
  }

  async command(text) {
    await this.palette(text);
    await this.page.keyboard.press("Enter");
  }

  async save() {
    await this.page.keyboard.press("Control+S");
    await this.locator(".tab.active:not(.dirty)").first().waitFor({ timeout: PATIENCE });
  }

  read(name) {
    return readFileSync(join(PROJECT, name), "utf8");
  }

  async gone(selector) {
    await this.locator(selector).first().waitFor({ state: "hidden", timeout: PATIENCE });
  }

  /** Wait for the diff; a job that ends without one says why. */
  async diff() {
    const diff = this.locator(DIFF).first();
    const no = this.locator('.notification-toast:has-text("Tried"), .notification-toast:has-text("No faster")').first();
    await diff.or(no).first().waitFor({ state: "visible", timeout: JOB_PATIENCE });
    if (await no.isVisible()) throw new Error(`no suggestion: ${await no.innerText()}`);
  }

  async closeTab() {
    await this.locator(".tab.active .tab-actions .action-label").first().click();
  }

  /** Press a button beside the tabs. */
  async press(name) {
    await this.locator(`.editor-actions .action-label[aria-label*="${name}"]`).first().click();
  }

  async toast(text) {
    return await this.see(`.notification-toast:has-text("${text}")`);
  }
}

/** The process ids of the servers that this workbench started. */
function servers() {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        const ours = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(`HOME=${STATE}`);
        return ours && words.some((word) => word.endsWith("/perforch")) && words.includes("lsp");
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);
}

const DIFF = ".monaco-diff-editor .line-insert";

const SCENARIOS = {
  /** Optimize from the palette, look at diff and evidence, apply, undo. */
  async apply(bench) {
    const { answer } = bench;
    await bench.openFile("newsletter.py");
    await bench.see(".squiggly-hint");
    await bench.goTo(35, 25);
    await bench.page.keyboard.press("Control+K");
    await bench.page.keyboard.press("Control+I");
    answer.hint = await (await bench.see(".monaco-hover-content")).innerText();
    await bench.shot("hint");
    await bench.page.keyboard.press("Escape");
    await bench.palette("PerfOrch: ");
    answer.palette = await bench.locator(".quick-input-list .monaco-list-row").allInnerTexts();
    await bench.shot("palette");
    await bench.page.keyboard.press("Escape");
    await bench.command("PerfOrch: Optimize for Speed");
    await bench.toast("PerfOrch: Optimizing recipients");
    await bench.toast("tests reach recipients");
    await bench.shot("progress");
    await bench.diff();
    answer.title = await bench.locator(".tab.active").first().innerText();
    answer.found = await (await bench.toast("recipients:")).innerText();
    await bench.shot("diff");
    await bench.press("Evidence");
    answer.evidence = await (await bench.see('.tab.active:has-text("Preview")')).innerText();
    const page = bench.page.frameLocator("iframe.webview.ready").frameLocator("iframe#active-frame");
    await page.locator("h1").waitFor({ timeout: PATIENCE });
    answer.evidence = await page.locator("body").innerText();
    await bench.shot("evidence");
    await bench.closeTab();
    await bench.see(DIFF);
    await bench.press("Apply");
    await bench.see('.tab.active.dirty:has-text("newsletter.py")');
    await bench.see('.statusbar-item:has-text("recipients replaced")');
    await bench.gone(".monaco-diff-editor");
    await bench.gone(".notification-toast");
    await bench.shot("applied");
    await bench.save();
    answer.applied = bench.read("newsletter.py");
    await bench.page.keyboard.press("Control+Z");
    await bench.see(".tab.active.dirty");
    await bench.save();
    answer.undone = bench.read("newsletter.py");
  },

  /** Start from the hint's quick fix, cancel; start again, close the diff, apply by the lens; then dismiss. */
  async lens(bench) {
    const { answer } = bench;
    await bench.openFile("newsletter.py");
    await bench.see(".squiggly-hint");
    await bench.goTo(35, 25);
    await bench.page.keyboard.press("Control+.");
    await bench.see(".action-widget .monaco-list-row");
    answer.actions = await bench.locator(".action-widget .monaco-list-row").allInnerTexts();
    await bench.shot("actions");
    await bench.locator('.action-widget .monaco-list-row:has-text("prove a faster version")').first().click();
    const progress = await bench.toast("PerfOrch: Optimizing recipients");
    await progress.locator('.monaco-button:has-text("Cancel")').click();
    await bench.gone('.notification-toast:has-text("Optimizing")');
    await sleep(5000); // the message goes at once, the job's processes within a second or so
    await bench.command("PerfOrch: Cancel");
    await (await bench.toast("nothing to cancel")).locator(".codicon-notifications-clear").click();
    answer.cancelled = bench.read("newsletter.py");

    await bench.command("PerfOrch: Optimize for Speed");
    await bench.diff();
    await bench.closeTab();
    const lens = await bench.see('.codelens-decoration a:has-text("faster")');
    answer.lens = await lens.innerText();
    await bench.shot("lens");
    await lens.click();
    await bench.see('.tab.active.dirty:has-text("newsletter.py")');
    await bench.gone(".codelens-decoration a");
    await bench.save();
    answer.applied = bench.read("newsletter.py");

    await bench.page.keyboard.press("Control+Z");
    await bench.save();
    await bench.see('.codelens-decoration a:has-text("faster")');
    const found = bench.locator('.notification-toast:has-text("mutants"), .notifications-center .notification-list-item:has-text("mutants")');
    if ((await found.count()) === 0) await bench.command("Notifications: Show Notifications");
    await found.first().locator('.monaco-button:has-text("Dismiss")').click();
    await bench.gone(".codelens-decoration a");
    answer.dismissed = bench.read("newsletter.py");
  },

  /** The server is not there: say what to do, and go to the setting. */
  async missing(bench) {
    await bench.openFile("newsletter.py");
    const toast = await bench.toast("PerfOrch");
    bench.answer.message = await toast.innerText();
    await bench.shot("missing");
    await toast.locator('.monaco-button:has-text("Open Setting")').click();
    await bench.see('.settings-editor .setting-item-contents:has-text("Server: Command")');
    await bench.shot("setting");
  },

  /** A program that is there and is no language server. */
  async broken(bench) {
    await bench.openFile("newsletter.py");
    const toast = await bench.toast("did not start");
    bench.answer.message = await toast.innerText();
    bench.answer.toasts = await bench.locator(".notification-toast").count();
    await bench.shot("broken");
    await toast.locator('.monaco-button:has-text("Show Log")').click();
    bench.answer.log = await (await bench.see(".output-view .view-lines")).innerText();
    await bench.shot("log");
  },

  /** The server is killed: it is started again, and works. */
  async crash(bench) {
    await bench.openFile("newsletter.py");
    await bench.see(".squiggly-hint");
    await bench.goTo(35, 25);
    const before = servers();
    for (const pid of before) process.kill(pid, "SIGKILL");
    for (let tries = 0; tries < 100 && !servers().some((pid) => !before.includes(pid)); tries++) await sleep(200);
    bench.answer.servers = [before.length, servers().length];
    await bench.command("PerfOrch: Optimize for Speed");
    await bench.toast("PerfOrch: Optimizing recipients");
    await bench.command("PerfOrch: Cancel");
    await bench.gone('.notification-toast:has-text("Optimizing")');
    bench.answer.toasts = await bench.locator(".notification-toast").allInnerTexts();
  },

  /** A folder that is not trusted: hints, but nothing is run. */
  async untrusted(bench) {
    const { answer } = bench;
    await bench.openFile("newsletter.py");
    await bench.see(".squiggly-hint");
    await bench.goTo(35, 25);
    await bench.command("PerfOrch: Optimize for Speed");
    const toast = await bench.toast("trust");
    answer.message = await toast.innerText();
    await bench.shot("untrusted");
    answer.progress = await bench.locator('.notification-toast:has-text("Optimizing")').count();
    await toast.locator('.monaco-button:has-text("Manage")').click();
    await (await bench.see('.workspace-trust-editor .monaco-button:has-text("Trust")')).click();
    await bench.locator('.modal-editor-part .codicon-close, .monaco-modal-editor-block .codicon-close').last().click();
    await bench.gone(".workspace-trust-editor");
    await bench.openFile("newsletter.py");
    await bench.goTo(35, 25);
    await bench.command("PerfOrch: Optimize for Speed");
    answer.trusted = await (await bench.toast("PerfOrch: Optimizing recipients")).innerText();
    await bench.command("PerfOrch: Cancel");
    await bench.gone('.notification-toast:has-text("Optimizing")');
  },
};

const scenario = SCENARIOS[process.argv[2]];
if (scenario === undefined) throw new Error(`no scenario ${process.argv[2]}; there are ${Object.keys(SCENARIOS)}`);
await install();
const { server, port } = await serve();
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
let bench;
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  bench = new Workbench(page);
  await page.goto(`http://127.0.0.1:${port}/?folder=${encodeURIComponent(PROJECT)}`);
  await bench.see(".monaco-workbench .part.editor");
  await scenario(bench);
} catch (error) {
  bench.answer.failed = String(error);
  bench.answer.toasts = await bench.locator(".notification-toast").allInnerTexts();
  await bench.shot("failed");
  process.exitCode = 1;
} finally {
  await browser.close();
  process.kill(-server.pid, "SIGTERM");
}
console.log(JSON.stringify(bench.answer));
process.exit();
