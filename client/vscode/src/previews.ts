/** Suggestions as a diff with Apply, Dismiss and Show Evidence, and their evidence as a page. */

import * as vscode from "vscode";
import { SCHEME, linkPath, parseLink, type Side } from "./links.js";

/** What `perforch.preview` answers, with what the event said of it. */
export interface Preview {
  readonly id: string;
  readonly uri: string;
  readonly symbol: string;
  readonly title: string;
  readonly proven: boolean;
  readonly before: string;
  readonly after: string;
  readonly report: string;
}

export interface Actions {
  apply(suggestion: string): Promise<void>;
  dismiss(suggestion: string): Promise<void>;
}

const SHOW = "Show Diff";
const EVIDENCE = "Show Evidence";
const APPLY = "Apply";
const APPLY_UNPROVEN = "Apply Unproven";
const DISMISS = "Dismiss";

export class Previews implements vscode.TextDocumentContentProvider, vscode.Disposable {
  readonly #known = new Map<string, Preview>();
  /** Suggestions whose message waits for an answer. */
  readonly #asking = new Set<string>();
  readonly #actions: Actions;
  readonly #registrations: vscode.Disposable[];

  constructor(actions: Actions) {
    this.#actions = actions;
    const here = (resource: unknown): string | undefined => suggestionOf(resource);
    this.#registrations = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      vscode.commands.registerCommand("perforch.diff.apply", (resource) => this.#with(here(resource), (id) => actions.apply(id))),
      vscode.commands.registerCommand("perforch.diff.dismiss", (resource) => this.#with(here(resource), (id) => actions.dismiss(id))),
      vscode.commands.registerCommand("perforch.diff.evidence", (resource) => this.#with(here(resource), (id) => this.evidence(id))),
    ];
  }

  dispose(): void {
    for (const registration of this.#registrations) registration.dispose();
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    const link = parseLink(uri.path);
    const preview = link === undefined ? undefined : this.#known.get(link.suggestion);
    if (link === undefined || preview === undefined) {
      return "This suggestion belonged to an earlier session. Run PerfOrch on the function again.\n";
    }
    return link.side === "evidence" ? preview.report : preview[link.side];
  }

  /**
   * Show what was found: at once as a diff when the user still looks at the file as it was, else by a message that
   * leads there, because a diff that opens while somebody types would take the keys.
   */
  async offer(preview: Preview): Promise<void> {
    this.#known.set(preview.id, preview);
    const document = vscode.window.activeTextEditor?.document;
    const watching =
      document?.uri.toString() === vscode.Uri.parse(preview.uri).toString() && document.getText() === preview.before;
    if (watching) await this.show(preview.id);
    const tell = preview.proven ? vscode.window.showInformationMessage : vscode.window.showWarningMessage;
    const choices = [preview.proven ? APPLY : APPLY_UNPROVEN, watching ? EVIDENCE : SHOW, DISMISS];
    this.#asking.add(preview.id);
    const choice = await tell(`PerfOrch: ${headline(preview)}`, ...choices);
    this.#asking.delete(preview.id);
    if (choice === SHOW) await this.show(preview.id);
    else if (choice === EVIDENCE) await this.evidence(preview.id);
    else if (choice === DISMISS) await this.#actions.dismiss(preview.id);
    else if (choice !== undefined) await this.#actions.apply(preview.id);
  }

  async show(suggestion: string): Promise<void> {
    const preview = this.#known.get(suggestion);
    if (preview === undefined) return;
    await vscode.commands.executeCommand(
      "vscode.diff",
      link(preview, "before"),
      link(preview, "after"),
      headline(preview),
      { preview: false } satisfies vscode.TextDocumentShowOptions,
    );
  }

  async evidence(suggestion: string): Promise<void> {
    const preview = this.#known.get(suggestion);
    if (preview === undefined) return;
    await vscode.commands.executeCommand("markdown.showPreview", link(preview, "evidence"));
  }

  /** Take away what asks about a suggestion that was applied or rejected; true when there was a diff. */
  async close(suggestion: string): Promise<boolean> {
    // A message cannot be closed, but it need not go on offering what is done.
    if (this.#asking.delete(suggestion)) await vscode.commands.executeCommand("notifications.hideToasts");
    const tabs = vscode.window.tabGroups.all
      .flatMap((group) => group.tabs)
      .filter((tab) => tab.input instanceof vscode.TabInputTextDiff && suggestionOf(tab.input.modified) === suggestion);
    if (tabs.length > 0) await vscode.window.tabGroups.close(tabs);
    return tabs.length > 0;
  }

  async #with(suggestion: string | undefined, act: (suggestion: string) => Promise<void>): Promise<void> {
    if (suggestion === undefined || !this.#known.has(suggestion)) {
      void vscode.window.showInformationMessage("PerfOrch: this suggestion belonged to an earlier session. Run PerfOrch on the function again.");
      return;
    }
    await act(suggestion);
  }
}

/** One line about a suggestion. What is not proven says so in its title. */
export function headline(preview: Pick<Preview, "symbol" | "title">): string {
  return `${preview.symbol}: ${preview.title}`;
}

function link(preview: Preview, side: Side): vscode.Uri {
  const file = side === "evidence" ? `${preview.symbol}.md` : vscode.Uri.parse(preview.uri).path;
  return vscode.Uri.from({ scheme: SCHEME, path: linkPath(side, preview.id, file) });
}

/** The suggestion that a resource belongs to; without one, that of the active diff. */
function suggestionOf(resource: unknown): string | undefined {
  const input = vscode.window.tabGroups.activeTabGroup.activeTab?.input;
  const uri = resource instanceof vscode.Uri ? resource : input instanceof vscode.TabInputTextDiff ? input.modified : undefined;
  return uri?.scheme === SCHEME ? parseLink(uri.path)?.suggestion : undefined;
}
