/** The commands of the palette and the editor's menu. */

import * as vscode from "vscode";
import { unfinished, type Job } from "./events.js";
import { LANGUAGES, SUPPORTED } from "./languages.js";
import { NotRunning, wordsOf, type Server } from "./server.js";
import { trustedOrAsk } from "./trust.js";

export function registerCommands(server: Server): vscode.Disposable[] {
  const register = (name: string, act: () => Promise<void> | void): vscode.Disposable =>
    vscode.commands.registerCommand(name, async () => {
      try {
        await act();
      } catch (error) {
        if (!(error instanceof NotRunning)) void vscode.window.showWarningMessage(`PerfOrch: ${wordsOf(error)}`);
      }
    });
  return [
    register("perforch.editor.optimize", () => startAtCursor(server, "perforch.optimize")),
    register("perforch.editor.fix", () => startAtCursor(server, "perforch.fix")),
    register("perforch.editor.generate", () => startAtCursor(server, "perforch.generate")),
    register("perforch.cancelJobs", () => cancel(server)),
    register("perforch.showLog", () => server.log.show()),
    register("perforch.restartServer", () => server.restart()),
  ];
}

/** Start a job on the function at the cursor. The server tells how it goes and ends. */
async function startAtCursor(server: Server, command: string): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const problem = editor === undefined ? "Open a file and put the cursor into a function." : unsupported(editor.document);
  if (editor === undefined || problem !== undefined) {
    void vscode.window.showInformationMessage(`PerfOrch: ${problem}`);
    return;
  }
  if (!(await trustedOrAsk())) return;
  const { line, character } = editor.selection.active;
  await server.command(command, { uri: editor.document.uri.toString(), position: { line, character } });
}

function unsupported(document: vscode.TextDocument): string | undefined {
  if (document.uri.scheme !== "file") return "This document is not a file on this machine. Open the file itself.";
  if (SUPPORTED.includes(document.languageId)) return undefined;
  const later = document.languageId in LANGUAGES ? " yet" : "";
  return `${document.languageId} is not supported${later}. Open a file in one of: ${SUPPORTED.join(", ")}.`;
}

/** Cancel every job that waits or runs. */
async function cancel(server: Server): Promise<void> {
  const { jobs } = await server.request<{ jobs: Job[] }>("perforch/jobs", {});
  const running = unfinished(jobs);
  if (running.length === 0) {
    void vscode.window.showInformationMessage("PerfOrch: there is nothing to cancel.");
  }
  await Promise.all(running.map((job) => server.command("perforch.cancel", job.id)));
}
