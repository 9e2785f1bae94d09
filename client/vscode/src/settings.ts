/** The settings that the server asks for. Their names are the server's own; nothing is translated. */

import { expand } from "./locate.js";

export interface Context {
  readonly trusted: boolean;
  readonly interpreter: string | undefined;
  readonly folders: readonly string[];
  readonly home: string;
}

/**
 * What the server gets for its section. The interpreter chosen in the Python extension stands in for an empty
 * `perforch.python`. Nothing of an untrusted folder is built or tested in the background.
 */
export function forServer(section: unknown, context: Context): unknown {
  if (typeof section !== "object" || section === null) return section;
  const settings: Record<string, unknown> = { ...section };
  delete settings["server"];
  delete settings["trace"];
  const set = settings["python"];
  settings["python"] =
    typeof set === "string" && set.trim() !== ""
      ? expand(set, context)
      : context.trusted
        ? (context.interpreter ?? null)
        : null;
  if (!context.trusted) settings["verifyOnSave"] = false;
  return settings;
}
