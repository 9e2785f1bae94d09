/** As much of VS Code's API as the extension uses, with what the user chooses set by the test and calls remembered. */

import { vi } from "vitest";

export class Uri {
  constructor(
    readonly scheme: string,
    readonly path: string,
  ) {}
  static parse(text: string): Uri {
    const [, scheme, path] = /^([a-z]+):(?:\/\/)?(.*)$/.exec(text) ?? [];
    if (scheme === undefined || path === undefined) throw new Error(`not a URI: ${text}`);
    return new Uri(scheme, decodeURIComponent(path));
  }
  static from({ scheme, path }: { scheme: string; path: string }): Uri {
    return new Uri(scheme, path);
  }
  get fsPath(): string {
    return this.path;
  }
  toString(): string {
    return `${this.scheme}:${this.scheme === "file" ? "//" : ""}${encodeURI(this.path)}`;
  }
}

export class TabInputTextDiff {
  constructor(
    readonly original: Uri,
    readonly modified: Uri,
  ) {}
}

export class TabInputText {
  constructor(readonly uri: Uri) {}
}

export const ProgressLocation = { SourceControl: 1, Window: 10, Notification: 15 };

export interface Tab {
  readonly input: unknown;
}

/** What is open, and what the user chooses in the next message. */
export const state = {
  editor: undefined as { document: { uri: Uri; getText(): string } } | undefined,
  tabs: [] as Tab[],
  active: undefined as Tab | undefined,
  choice: undefined as string | undefined,
  trusted: true,
  registered: new Map<string, (...args: unknown[]) => unknown>(),
};

const message = () => vi.fn(async (_text: string, ..._choices: string[]) => state.choice);

export const window = {
  get activeTextEditor() {
    return state.editor;
  },
  showInformationMessage: message(),
  showWarningMessage: message(),
  showErrorMessage: message(),
  withProgress: vi.fn(),
  tabGroups: {
    get all() {
      return [{ tabs: state.tabs }];
    },
    get activeTabGroup() {
      return { activeTab: state.active };
    },
    close: vi.fn(async (closed: Tab[]) => {
      state.tabs = state.tabs.filter((tab) => !closed.includes(tab));
    }),
  },
};

export const workspace = {
  get isTrusted() {
    return state.trusted;
  },
  registerTextDocumentContentProvider: vi.fn(() => ({ dispose: vi.fn() })),
};

export const commands = {
  registerCommand: vi.fn((name: string, act: (...args: unknown[]) => unknown) => {
    state.registered.set(name, act);
    return { dispose: () => state.registered.delete(name) };
  }),
  executeCommand: vi.fn(async (..._args: unknown[]) => undefined),
};

export function reset(): void {
  Object.assign(state, { editor: undefined, tabs: [], active: undefined, choice: undefined, trusted: true });
  state.registered.clear();
  vi.clearAllMocks();
}
