/** Nothing of a folder is run before the user trusts it. */

import * as vscode from "vscode";

const MANAGE = "Manage Workspace Trust";

/** The folder is trusted; if not, the user is told, and can trust it. */
export async function trustedOrAsk(): Promise<boolean> {
  if (vscode.workspace.isTrusted) return true;
  const text = "PerfOrch runs the tests of this folder to prove what it suggests, so it needs you to trust the folder first.";
  const choice = await vscode.window.showWarningMessage(text, MANAGE);
  if (choice === MANAGE) await vscode.commands.executeCommand("workbench.trust.manage");
  return vscode.workspace.isTrusted;
}
