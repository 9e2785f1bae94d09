import { describe, expect, it } from "vitest";
import { expand, INSTALL, locate, type Surroundings } from "../src/locate.js";

function around(files: string[], changes: Partial<Surroundings> = {}): Surroundings {
  return {
    setting: [],
    folders: ["/home/ann/shop", "/home/ann/lib"],
    trusted: true,
    interpreter: "/opt/envs/shop/bin/python",
    home: "/home/ann",
    searchPath: "/usr/local/bin:/usr/bin",
    platform: "linux",
    exists: (file) => files.includes(file),
    ...changes,
  };
}

const VENV = "/home/ann/shop/.venv/bin/perforch";
const CHOSEN = "/opt/envs/shop/bin/perforch";
const ON_PATH = "/usr/bin/perforch";
const OWN = "/home/ann/.local/bin/perforch";

function program(surroundings: Surroundings): string | undefined {
  const found = locate(surroundings);
  return "command" in found ? found.command.join(" ") : undefined;
}

describe("without a setting", () => {
  it("takes the workspace's environment, then the chosen interpreter's, then the PATH, then ~/.local/bin", () => {
    expect(program(around([VENV, CHOSEN, ON_PATH, OWN]))).toBe(`${VENV} lsp`);
    expect(program(around([CHOSEN, ON_PATH, OWN]))).toBe(`${CHOSEN} lsp`);
    expect(program(around([ON_PATH, OWN]))).toBe(`${ON_PATH} lsp`);
    expect(program(around([OWN]))).toBe(`${OWN} lsp`);
  });

  it("looks into the second folder too", () => {
    expect(program(around(["/home/ann/lib/venv/bin/perforch"]))).toBe("/home/ann/lib/venv/bin/perforch lsp");
  });

  it("runs nothing of a folder that is not trusted", () => {
    expect(program(around([VENV, CHOSEN, ON_PATH], { trusted: false }))).toBe(`${ON_PATH} lsp`);
    const found = locate(around([VENV, CHOSEN], { trusted: false }));
    expect("problem" in found && found.problem).toContain("not trusted");
  });

  it("does not take a relative folder on the PATH for a place outside the workspace", () => {
    const surroundings = around(["bin/perforch", "./perforch", "perforch"], { searchPath: "bin:.::/usr/bin" });
    expect(program(surroundings)).toBeUndefined();
  });

  it("finds the Windows names", () => {
    const file = "C:\\shop\\.venv\\Scripts\\perforch.exe";
    const windows = { platform: "win32" as const, folders: ["C:\\shop"], searchPath: "C:\\Windows;D:\\tools" };
    expect(program(around([file], windows))).toBe(`${file} lsp`);
    expect(program(around(["D:\\tools\\perforch.exe"], windows))).toBe("D:\\tools\\perforch.exe lsp");
  });

  it("says what is missing, how to install it and where the setting is", () => {
    const found = locate(around([]));
    if (!("problem" in found)) throw new Error("found something");
    expect(found.problem).toContain(INSTALL);
    expect(found.problem).toContain("perforch.server.command");
    expect(found.searched).toEqual(expect.arrayContaining([VENV, CHOSEN, ON_PATH, OWN]));
  });
});

describe("with a setting", () => {
  it("takes it as it is, also when others are there", () => {
    expect(program(around([VENV, "/x/perforch"], { setting: ["/x/perforch", "lsp", "--verbose"] }))).toBe("/x/perforch lsp --verbose");
  });

  it("leaves a bare name to the PATH", () => {
    expect(program(around([VENV], { setting: ["perforch-lsp"] }))).toBe("perforch-lsp");
  });

  it("replaces ~ and ${workspaceFolder}", () => {
    const files = ["/home/ann/bin/perforch", "/home/ann/shop/tools/perforch"];
    expect(program(around(files, { setting: ["~/bin/perforch", "lsp"] }))).toBe("/home/ann/bin/perforch lsp");
    expect(program(around(files, { setting: ["${workspaceFolder}/tools/perforch"] }))).toBe("/home/ann/shop/tools/perforch");
    expect(expand("~ann/x", around([]))).toBe("~ann/x");
  });

  it("says so when it names what is not there, instead of taking another", () => {
    const found = locate(around([VENV], { setting: ["/gone/perforch", "lsp"] }));
    expect("problem" in found && found.problem).toContain("/gone/perforch");
  });

  it("counts as empty when its program is", () => {
    expect(program(around([VENV], { setting: ["  "] }))).toBe(`${VENV} lsp`);
  });
});
