import { expect, it } from "vitest";
import { forServer } from "../src/settings.js";

const CONTEXT = { trusted: true, interpreter: "/env/bin/python", folders: ["/shop"], home: "/home/ann" };
const SECTION = { python: null, models: ["rules"], budget: { seconds: 20 }, verifyOnSave: true, server: { command: [] }, trace: { server: "off" } };

it("passes the server's settings on and keeps the editor's own", () => {
  expect(forServer(SECTION, { ...CONTEXT, interpreter: undefined })).toEqual({
    python: null,
    models: ["rules"],
    budget: { seconds: 20 },
    verifyOnSave: true,
  });
});

it("fills an empty interpreter with the one chosen in the Python extension, never a set one", () => {
  expect(forServer(SECTION, CONTEXT)).toMatchObject({ python: "/env/bin/python" });
  expect(forServer({ ...SECTION, python: "" }, CONTEXT)).toMatchObject({ python: "/env/bin/python" });
  expect(forServer({ ...SECTION, python: "${workspaceFolder}/venv/bin/python" }, CONTEXT)).toMatchObject({ python: "/shop/venv/bin/python" });
});

it("neither passes an interpreter nor verifies in the background in a folder that is not trusted", () => {
  expect(forServer(SECTION, { ...CONTEXT, trusted: false })).toMatchObject({ python: null, verifyOnSave: false });
});

it("does not touch the caller's object, and leaves what is no section alone", () => {
  forServer(SECTION, CONTEXT);
  expect(SECTION.verifyOnSave).toBe(true);
  expect(SECTION).toHaveProperty("server");
  expect(forServer(null, CONTEXT)).toBeNull();
});
