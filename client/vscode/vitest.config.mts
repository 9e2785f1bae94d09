import { defineConfig } from "vitest/config";

// VS Code's module exists inside VS Code only; test/vscode.ts stands for it and remembers what was asked of it.
export default defineConfig({
  test: { include: ["test/**/*.test.ts"], alias: { vscode: new URL("./test/vscode.ts", import.meta.url).pathname } },
});
