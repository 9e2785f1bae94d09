/** Where the server's program is: a setting, the folder's virtual environment, the chosen interpreter, the PATH. */

import * as path from "node:path";

export interface Surroundings {
  /** `perforch.server.command`; empty when the user set nothing. */
  readonly setting: readonly string[];
  /** Workspace folders, first one first. */
  readonly folders: readonly string[];
  /** What lies in the workspace may be run. */
  readonly trusted: boolean;
  /** The interpreter chosen in the Python extension. */
  readonly interpreter: string | undefined;
  readonly home: string;
  /** The PATH variable. */
  readonly searchPath: string;
  readonly platform: NodeJS.Platform;
  /** An executable file of that name exists. */
  readonly exists: (file: string) => boolean;
}

export type Located =
  | { readonly command: readonly [string, ...string[]]; readonly from: string }
  | { readonly problem: string; readonly searched: readonly string[] };

export const INSTALL = "pip install perforch";

const VIRTUAL_ENVIRONMENTS = [".venv", "venv", "env"];

/** The command that starts the server, and where it was found; or what the user has to do. */
export function locate(around: Surroundings): Located {
  const [program, ...rest] = around.setting.map((part) => expand(part, around));
  if (program !== undefined && program.trim() !== "") {
    return explicit(program, rest, around);
  }
  const paths = around.platform === "win32" ? path.win32 : path.posix;
  const programs = around.platform === "win32" ? ["perforch.exe"] : ["perforch"];
  const searched: string[] = [];
  for (const [folder, from] of places(around, paths)) {
    for (const name of programs) {
      const file = paths.join(folder, name);
      searched.push(file);
      if (around.exists(file)) return { command: [file, "lsp"], from };
    }
  }
  const untrusted = around.trusted ? "" : " The folder is not trusted, so nothing in it was looked at.";
  return {
    problem:
      `PerfOrch's server was not found: no perforch in the project's virtual environment, beside the chosen Python ` +
      `interpreter or on the PATH.${untrusted} Install it with "${INSTALL}", or set perforch.server.command.`,
    searched,
  };
}

function explicit(program: string, rest: readonly string[], around: Surroundings): Located {
  const paths = around.platform === "win32" ? path.win32 : path.posix;
  const from = "the setting perforch.server.command";
  if (!program.includes(paths.sep) && !program.includes("/")) {
    return { command: [program, ...rest], from }; // a bare name is found on the PATH when it is started
  }
  if (around.exists(program)) return { command: [program, ...rest], from };
  return {
    problem: `The setting perforch.server.command names ${program}, which is not there or cannot be run. Correct the setting, or empty it to have the server found.`,
    searched: [program],
  };
}

function* places(around: Surroundings, paths: typeof path.posix): Generator<readonly [string, string]> {
  const scripts = around.platform === "win32" ? "Scripts" : "bin";
  if (around.trusted) {
    for (const folder of around.folders) {
      for (const name of VIRTUAL_ENVIRONMENTS) {
        yield [paths.join(folder, name, scripts), `the workspace's ${name}`];
      }
    }
    if (around.interpreter !== undefined) {
      yield [paths.dirname(around.interpreter), "the Python extension's interpreter"];
    }
  }
  for (const folder of around.searchPath.split(paths.delimiter)) {
    // A relative folder on the PATH would be one in the workspace.
    if (paths.isAbsolute(folder)) yield [folder, "the PATH"];
  }
  // An editor started from the desktop often lacks the folder that `pip install --user` and pipx put programs in.
  if (around.platform !== "win32") yield [paths.join(around.home, ".local", "bin"), "~/.local/bin"];
}

/** `~` and `${workspaceFolder}` replaced. */
export function expand(text: string, around: Pick<Surroundings, "folders" | "home">): string {
  const home = text === "~" || text.startsWith("~/") || text.startsWith("~\\") ? around.home + text.slice(1) : text;
  return home.replaceAll("${workspaceFolder}", around.folders[0] ?? "${workspaceFolder}");
}
