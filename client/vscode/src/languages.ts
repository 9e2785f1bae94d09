/**
 * The editor's names of the languages that PerfOrch is made for, and whether the server supports them yet.
 * package.json repeats the supported ones in `activationEvents` and in its `when` clauses; a test compares the two.
 */
export const LANGUAGES: Readonly<Record<string, boolean>> = {
  python: true,
  cpp: false,
  go: false,
  java: false,
  rust: false,
};

export const SUPPORTED: readonly string[] = Object.keys(LANGUAGES).filter((name) => LANGUAGES[name]);
