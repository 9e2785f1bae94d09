/**
 * The server's work-done progress as a notification with a Cancel button. The language client would show it in the
 * status bar, where nothing can be cancelled.
 */

import * as vscode from "vscode";

export interface Progress {
  readonly kind: "begin" | "report" | "end";
  readonly title?: string;
  readonly message?: string;
}

interface Bar {
  readonly show: (message: string) => void;
  readonly close: () => void;
}

export class Bars {
  readonly #bars = new Map<string | number, Bar>();
  readonly #cancel: (token: string | number) => void;

  /** `cancel` is called with the token of the bar whose Cancel was pressed. */
  constructor(cancel: (token: string | number) => void) {
    this.#cancel = cancel;
  }

  handle(token: string | number, value: Progress): void {
    if (value.kind === "begin") this.#open(token, value);
    else if (value.kind === "report") this.#bars.get(token)?.show(value.message ?? "");
    else this.#close(token);
  }

  /** The server is gone, and nobody will end its bars. */
  closeAll(): void {
    for (const token of [...this.#bars.keys()]) this.#close(token);
  }

  #open(token: string | number, value: Progress): void {
    this.#close(token);
    const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title: value.title ?? "PerfOrch" };
    void vscode.window.withProgress(options, (progress, cancellation) => {
      const ended = new Promise<void>((close) => {
        this.#bars.set(token, { show: (message) => progress.report({ message }), close });
      });
      cancellation.onCancellationRequested(() => this.#cancel(token));
      progress.report({ message: value.message ?? "" });
      return ended;
    });
  }

  #close(token: string | number): void {
    this.#bars.get(token)?.close();
    this.#bars.delete(token);
  }
}
