import { describe, expect, it } from "vitest";
import { mismatch, PROTOCOL, reaction, unfinished, type Job, type Suggestion } from "../src/events.js";

const JOB: Job = {
  id: "j1",
  uri: "file:///shop.py",
  symbol: "common",
  state: "done",
  text: "common: 2.3x faster",
  background: false,
  apply: false,
  suggestion: "s1",
};

const SUGGESTION: Suggestion = { id: "s1", uri: JOB.uri, symbol: "common", title: "2.3x faster", state: "ready", proven: true, line: 3 };

describe("a job", () => {
  it("with a suggestion is previewed", () => {
    const shown = { show: "preview", suggestion: "s1", symbol: "common" };
    expect(reaction({ type: "job", job: JOB, result: { status: "suggested" } })).toEqual({ ...shown, proven: true });
    expect(reaction({ type: "job", job: JOB, result: { status: "unproven" } })).toEqual({ ...shown, proven: false });
  });

  it("is not previewed when the server applies what it found", () => {
    const job = { ...JOB, apply: true };
    expect(reaction({ type: "job", job, result: { status: "suggested" } }).show).toBe("nothing");
  });

  it("is previewed all the same when what was found is not proven", () => {
    const job = { ...JOB, apply: true };
    expect(reaction({ type: "job", job, result: { status: "unproven" } }).show).toBe("preview");
  });

  it("says why it ends without a suggestion, as loud as the server holds right", () => {
    const job: Job = { ...JOB, suggestion: null, text: "common: nothing better was found." };
    expect(reaction({ type: "job", job, severity: "info" })).toEqual({
      show: "message",
      severity: "info",
      text: "PerfOrch: common: nothing better was found.",
      log: false,
    });
    const failed = reaction({ type: "job", job: { ...job, state: "failed" }, severity: "error" });
    expect(failed).toMatchObject({ show: "message", severity: "error", log: true });
  });

  it.each(["queued", "running", "cancelled"] as const)("that is %s shows nothing: its progress bar does", (state) => {
    expect(reaction({ type: "job", job: { ...JOB, state, suggestion: null } }).show).toBe("nothing");
  });

  it("that nobody asked for stays silent, found or failed", () => {
    expect(reaction({ type: "job", job: { ...JOB, background: true } }).show).toBe("nothing");
    const failed: Job = { ...JOB, background: true, state: "failed", suggestion: null };
    expect(reaction({ type: "job", job: failed, severity: "error" }).show).toBe("nothing");
  });
});

describe("a suggestion", () => {
  it("that is new waits for the end of its job", () => {
    expect(reaction({ type: "suggestion", suggestion: SUGGESTION }).show).toBe("nothing");
  });

  it.each(["applied", "rejected"] as const)("that was %s closes its diff", (state) => {
    const suggestion = { ...SUGGESTION, state };
    expect(reaction({ type: "suggestion", suggestion })).toEqual({ show: "closed", suggestion });
  });
});

it("only what waits or runs can be cancelled", () => {
  const states = ["queued", "running", "done", "failed", "cancelled"] as const;
  expect(unfinished(states.map((state) => ({ ...JOB, state }))).map((job) => job.state)).toEqual(["queued", "running"]);
});

describe("the server's protocol", () => {
  it("fits", () => expect(mismatch({ perforch: { protocol: PROTOCOL } })).toBeUndefined());
  it("is newer: update the extension", () => expect(mismatch({ perforch: { protocol: PROTOCOL + 1 } })).toContain("Update this extension"));
  it("is older: update the server", () => expect(mismatch({ perforch: { protocol: PROTOCOL - 1 } })).toContain("pip install --upgrade"));
  it.each([undefined, null, {}, { perforch: true }])("is missing in %j: that is another program", (experimental) => {
    expect(mismatch(experimental)).toContain("not PerfOrch's server");
  });
});
