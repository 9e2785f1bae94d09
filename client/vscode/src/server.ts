/** The server's process and the connection to it: started, restarted, and its failures told to the user. */

import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  type ErrorHandler,
  type LanguageClientOptions,
  type Middleware,
  type StaticFeature,
  WorkDoneProgressCancelNotification,
} from "vscode-languageclient/node";
import { mismatch, type ServerEvent } from "./events.js";
import { chosenInterpreter } from "./interpreter.js";
import { SUPPORTED } from "./languages.js";
import { INSTALL, locate } from "./locate.js";
import { Bars } from "./progress.js";
import { forServer } from "./settings.js";
import { trustedOrAsk } from "./trust.js";

const START_WITHIN_MS = 60_000;
const CRASHES = 3;
const CRASHES_WITHIN_MS = 180_000;

/** The commands that make the server build and test code of the folder. */
const RUNNING = new Set(["perforch.generate", "perforch.fix", "perforch.optimize", "perforch.retry"]);

export class Server implements vscode.Disposable {
  readonly log: vscode.OutputChannel;
  readonly #onEvent: (event: ServerEvent) => void;
  readonly #bars: Bars;
  #client: QuietClient | undefined;
  /** The command that `#client` was started with. */
  #running = "";
  /** Starts and stops happen one after another. */
  #queue: Promise<void> = Promise.resolve();
  #crashes: number[] = [];

  constructor(onEvent: (event: ServerEvent) => void) {
    this.log = vscode.window.createOutputChannel("PerfOrch");
    this.#onEvent = onEvent;
    this.#bars = new Bars((token) => {
      void this.#client?.sendNotification(WorkDoneProgressCancelNotification.type, { token });
    });
  }

  start(): Promise<void> {
    return this.#next(() => this.#start());
  }

  restart(): Promise<void> {
    return this.#next(async () => {
      await this.#stop();
      this.#crashes = [];
      await this.#start();
    });
  }

  /** Settings or trust have changed: restart only when another program is to be started now, since jobs end with it. */
  reconsider(): Promise<void> {
    return this.#next(async () => {
      const found = locate(await surroundings());
      if (this.#client !== undefined && "command" in found && String(found.command) === this.#running) {
        await this.#client.sendNotification("workspace/didChangeConfiguration", { settings: null });
        return;
      }
      await this.#stop();
      this.#crashes = [];
      await this.#start();
    });
  }

  stop(): Promise<void> {
    return this.#next(() => this.#stop());
  }

  dispose(): void {
    void this.stop().finally(() => this.log.dispose());
  }

  /** The server's answer to one of its commands. Rejects with a message for the user. */
  async command<T>(command: string, argument: unknown): Promise<T> {
    return await this.request<T>("workspace/executeCommand", { command, arguments: [argument] });
  }

  /** The server's answer to a request. Rejects with a message for the user. */
  async request<T>(method: string, params: object): Promise<T> {
    if (this.#client === undefined) await this.start();
    const client = this.#client;
    if (client === undefined) throw new NotRunning();
    return await client.sendRequest<T>(method, params);
  }

  #next(step: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(step, step);
    return this.#queue;
  }

  async #start(): Promise<void> {
    if (this.#client !== undefined) return;
    const found = locate(await surroundings());
    if ("problem" in found) {
      this.log.appendLine(`${found.problem}\nLooked for:\n  ${found.searched.join("\n  ")}`);
      void this.#tell(found.problem, "Open Setting", "Copy Install Command", "Show Log");
      return;
    }
    const [program, ...args] = found.command;
    this.log.appendLine(`Starting ${found.command.join(" ")} (from ${found.from})`);
    let child: ChildProcess | undefined;
    const run = async (): Promise<ChildProcess> => (child = await launch(program, args));
    const client = new QuietClient("perforch", "PerfOrch", run, this.#options());
    client.registerFeature(announcement);
    client.onNotification("perforch/event", (event: ServerEvent) => this.#onEvent(event));
    this.#client = client;
    this.#running = String(found.command);
    // A program that is no language server may wait for ever; without an end to that nothing could be restarted.
    const limit = setTimeout(() => child?.kill(), START_WITHIN_MS);
    try {
      await client.start();
    } catch (error) {
      this.#client = undefined;
      this.log.appendLine(`The server did not start: ${wordsOf(error)}`);
      const problem = `PerfOrch's server did not start (${found.command.join(" ")}, from ${found.from}). The log says why.`;
      void this.#tell(problem, "Show Log", "Open Setting", "Restart Server");
      return;
    } finally {
      clearTimeout(limit);
    }
    const problem = mismatch(client.initializeResult?.capabilities.experimental);
    if (problem !== undefined) {
      await this.#stop();
      void this.#tell(`PerfOrch: ${problem}`, "Open Setting", "Show Log");
    }
  }

  async #stop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    this.#bars.closeAll();
    // A server that does not answer is ended after the time that is given here.
    await client?.dispose(5000).catch((error: unknown) => this.log.appendLine(`Stopping: ${wordsOf(error)}`));
  }

  #options(): LanguageClientOptions {
    return {
      documentSelector: SUPPORTED.map((language) => ({ scheme: "file", language })),
      outputChannel: this.log,
      diagnosticCollectionName: "perforch",
      initializationFailedHandler: () => false,
      errorHandler: this.#errors(),
      middleware: this.#middleware(),
    };
  }

  #errors(): ErrorHandler {
    return {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        this.#bars.closeAll();
        const now = Date.now();
        this.#crashes = [...this.#crashes.filter((then) => now - then < CRASHES_WITHIN_MS), now];
        if (this.#client?.running === true && this.#crashes.length <= CRASHES) {
          return { action: CloseAction.Restart, handled: true };
        }
        if (this.#client?.running === true) {
          void this.#tell("PerfOrch's server keeps ending by itself and was not started again. The log says why.", "Show Log", "Restart Server");
        }
        this.#client = undefined;
        return { action: CloseAction.DoNotRestart, handled: true };
      },
    };
  }

  #middleware(): Middleware {
    return {
      handleWorkDoneProgress: (token, value) => this.#bars.handle(token, value),
      executeCommand: async (command, args, next) => {
        if (RUNNING.has(command) && !(await trustedOrAsk())) return undefined;
        try {
          return await next(command, args);
        } catch (error) {
          void vscode.window.showWarningMessage(`PerfOrch: ${wordsOf(error)}`);
          return undefined;
        }
      },
      workspace: {
        configuration: async (params, token, next) => {
          const answers = await next(params, token);
          if (!Array.isArray(answers)) return answers;
          const context = await surroundings();
          return answers.map((answer, at) => (params.items[at]?.section === "perforch" ? forServer(answer, context) : answer));
        },
      },
    };
  }

  async #tell(problem: string, ...choices: string[]): Promise<void> {
    const choice = await vscode.window.showErrorMessage(problem, ...choices);
    if (choice === "Open Setting") {
      await openSetting("perforch.server.command");
    } else if (choice === "Copy Install Command") {
      await vscode.env.clipboard.writeText(INSTALL);
    } else if (choice === "Show Log") {
      this.log.show();
    } else if (choice === "Restart Server") {
      await this.restart();
    }
  }
}

/** A program's path belongs to the machine that the files are on, so on a remote one it is not among the user's own. */
async function openSetting(query: string): Promise<void> {
  const where = vscode.env.remoteName === undefined ? "openSettings" : "openRemoteSettings";
  await vscode.commands.executeCommand(`workbench.action.${where}`, { query });
}

/** There is no server, and the user was told why. */
export class NotRunning extends Error {
  constructor() {
    super("the server is not running");
  }
}

/** What to tell the user of an error. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A language client whose own complaints go into the log: the user gets ours, which say what to do. */
class QuietClient extends LanguageClient {
  get running(): boolean {
    return this.initializeResult !== undefined;
  }

  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  // The base class passes a flag as data when it restarts a server.
  override info(message: string, data?: unknown): void {
    super.info(message, data === false ? undefined : data, false);
  }
}

/** Tells the server that this client shows suggestions and the ends of jobs itself. */
const announcement: StaticFeature = {
  fillClientCapabilities: (capabilities) => {
    capabilities.experimental = { ...(capabilities.experimental as object | undefined), perforch: true };
  },
  initialize: () => undefined,
  getState: () => ({ kind: "static" }),
  clear: () => undefined,
};

/** Start a program with pipes; rejects when it cannot be started. Its folder is the first of the workspace. */
async function launch(program: string, args: readonly string[]): Promise<ChildProcess> {
  const cwd = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  const child = spawn(program, args, { stdio: "pipe", windowsHide: true, ...(cwd !== undefined && { cwd }) });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  return child;
}

async function surroundings() {
  const folders = vscode.workspace.workspaceFolders ?? [];
  const trusted = vscode.workspace.isTrusted;
  return {
    setting: vscode.workspace.getConfiguration("perforch").get<string[]>("server.command", []),
    folders: folders.map((folder) => folder.uri.fsPath),
    trusted,
    interpreter: trusted ? await chosenInterpreter(folders[0]?.uri) : undefined,
    home: homedir(),
    searchPath: process.env["PATH"] ?? "",
    platform: process.platform,
    exists: isProgram,
  };
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
