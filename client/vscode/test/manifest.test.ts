import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { SUPPORTED } from "../src/languages.js";

const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const folder = new URL("../src/", import.meta.url);
const source = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n");

it("activates for the supported languages and for no other", () => {
  expect(manifest.activationEvents).toEqual(SUPPORTED.map((language) => `onLanguage:${language}`));
  const clauses = JSON.stringify(manifest.contributes.menus).match(/editorLangId =~ [^ ]+/g);
  expect(new Set(clauses)).toEqual(new Set([`editorLangId =~ /^(${SUPPORTED.join("|")})$/`]));
});

it("registers every command that it contributes, each under the category PerfOrch", () => {
  for (const { command, category } of manifest.contributes.commands) {
    expect(category).toBe("PerfOrch");
    expect(source).toContain(`"${command}"`);
  }
});

it("takes no command for itself that the language client registers for the server", () => {
  const server = ["generate", "fix", "optimize", "apply", "preview", "showReport", "reject", "retry", "cancel"];
  for (const { command } of manifest.contributes.commands) expect(server.map((name) => `perforch.${name}`)).not.toContain(command);
});

it("keeps what starts programs out of the hands of an untrusted folder", () => {
  const { restrictedConfigurations, supported } = manifest.capabilities.untrustedWorkspaces;
  expect(supported).toBe("limited");
  expect(restrictedConfigurations).toEqual(["perforch.server.command", "perforch.python"]);
});
