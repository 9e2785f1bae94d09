/** PerfOrch in VS Code: starts the server, passes commands to it and shows what it found. All else is the server's. */

import * as vscode from "vscode";
import { registerCommands } from "./commands.js";
import { reaction, type ServerEvent } from "./events.js";
import { Previews, type Preview } from "./previews.js";
import { NotRunning, Server, wordsOf } from "./server.js";

const UNDO_HINT_MS = 8000;

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const started = new Server((event) => void react(event).catch(complain));
  server = started;
  const previews = new Previews({
    apply: (suggestion) => started.command<void>("perforch.apply", suggestion).catch(complain),
    dismiss: (suggestion) => started.command<void>("perforch.reject", suggestion).catch(complain),
  });

  async function react(event: ServerEvent): Promise<void> {
    const answer = reaction(event);
    if (answer.show === "message") {
      const tell = { error: vscode.window.showErrorMessage, warning: vscode.window.showWarningMessage, info: vscode.window.showInformationMessage };
      const choice = await tell[answer.severity](answer.text, ...(answer.log ? ["Show Log"] : []));
      if (choice !== undefined) started.log.show();
    } else if (answer.show === "preview") {
      const preview = await started.command<Omit<Preview, "symbol" | "proven">>("perforch.preview", answer.suggestion);
      await previews.offer({ ...preview, symbol: answer.symbol, proven: answer.proven });
    } else if (answer.show === "closed") {
      await finish(answer.suggestion);
    }
  }

  async function finish(suggestion: { id: string; uri: string; symbol: string; state: string }): Promise<void> {
    const shown = await previews.close(suggestion.id);
    if (shown) await vscode.window.showTextDocument(vscode.Uri.parse(suggestion.uri));
    if (suggestion.state === "applied") {
      vscode.window.setStatusBarMessage(`$(check) PerfOrch: ${suggestion.symbol} replaced; Undo takes it back`, UNDO_HINT_MS);
    }
  }

  context.subscriptions.push(
    started,
    previews,
    ...registerCommands(started),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void started.reconsider()),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("perforch")) void started.reconsider();
    }),
  );
  void started.start();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

function complain(error: unknown): void {
  if (!(error instanceof NotRunning)) void vscode.window.showWarningMessage(`PerfOrch: ${wordsOf(error)}`);
}
