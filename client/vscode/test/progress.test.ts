import { beforeEach, expect, it, vi } from "vitest";
import { Bars } from "../src/progress.js";
import * as vscode from "./vscode.js";

interface Shown {
  readonly options: { title: string; cancellable: boolean; location: number };
  readonly messages: string[];
  readonly press: () => void;
  open: boolean;
}

const shown: Shown[] = [];

beforeEach(() => {
  vscode.reset();
  shown.length = 0;
  vscode.window.withProgress.mockImplementation(async (options, task) => {
    let press = (): void => undefined;
    const bar: Shown = { options, messages: [], press: () => press(), open: true };
    shown.push(bar);
    const cancellation = { onCancellationRequested: (act: () => void) => (press = act) };
    await task({ report: ({ message }: { message: string }) => bar.messages.push(message) }, cancellation);
    bar.open = false;
  });
});

it("shows a notification with Cancel from begin to end", async () => {
  const bars = new Bars(vi.fn());
  bars.handle("t", { kind: "begin", title: "PerfOrch: Optimizing common", message: "waiting" });
  bars.handle("t", { kind: "report", message: "running the tests" });
  expect(shown[0]?.options).toEqual({ title: "PerfOrch: Optimizing common", cancellable: true, location: vscode.ProgressLocation.Notification });
  expect(shown[0]?.messages).toEqual(["waiting", "running the tests"]);
  expect(shown[0]?.open).toBe(true);
  bars.handle("t", { kind: "end", message: "2.3x faster" });
  await vi.waitFor(() => expect(shown[0]?.open).toBe(false));
});

it("tells the server which bar was cancelled", () => {
  const cancel = vi.fn();
  const bars = new Bars(cancel);
  bars.handle("a", { kind: "begin", title: "A" });
  bars.handle(7, { kind: "begin", title: "B" });
  shown[1]?.press();
  expect(cancel.mock.calls).toEqual([[7]]);
});

it("closes all when the server is gone, and hears late values without harm", async () => {
  const bars = new Bars(vi.fn());
  bars.handle("a", { kind: "begin", title: "A" });
  bars.handle("b", { kind: "begin", title: "B" });
  bars.closeAll();
  bars.handle("a", { kind: "report", message: "late" });
  bars.handle("a", { kind: "end" });
  await vi.waitFor(() => expect(shown.map((bar) => bar.open)).toEqual([false, false]));
  expect(shown[0]?.messages).not.toContain("late");
});
