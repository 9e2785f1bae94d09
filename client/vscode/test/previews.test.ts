import { beforeEach, describe, expect, it, vi } from "vitest";
import { Previews, type Actions, type Preview } from "../src/previews.js";
import * as vscode from "./vscode.js";

const PREVIEW: Preview = {
  id: "s1",
  uri: "file:///work%20shop/shop.py",
  symbol: "common",
  title: "2.3x faster at n = 10,000 (2.2-2.4); 14 tests",
  proven: true,
  before: "old\n",
  after: "new\n",
  report: "# common\n",
};

let actions: { [name in keyof Actions]: ReturnType<typeof vi.fn<Actions[name]>> };
let previews: Previews;

beforeEach(() => {
  vscode.reset();
  actions = { apply: vi.fn(async () => undefined), dismiss: vi.fn(async () => undefined) };
  previews = new Previews(actions);
});

function looksAt(path: string, text: string): void {
  vscode.state.editor = { document: { uri: new vscode.Uri("file", path), getText: () => text } };
}

function shownDiff(): vscode.TabInputTextDiff | undefined {
  const call = vscode.commands.executeCommand.mock.calls.find(([name]) => name === "vscode.diff");
  return call && new vscode.TabInputTextDiff(call[1] as vscode.Uri, call[2] as vscode.Uri);
}

function content(uri: vscode.Uri): string {
  return previews.provideTextDocumentContent(uri as never);
}

describe("what was found", () => {
  it("opens as a diff with its title while the user looks at the unchanged file", async () => {
    looksAt("/work shop/shop.py", "old\n");
    await previews.offer(PREVIEW);
    const diff = shownDiff()!;
    expect([content(diff.original), content(diff.modified)]).toEqual(["old\n", "new\n"]);
    expect(vscode.commands.executeCommand.mock.calls[0]?.[3]).toBe(`common: ${PREVIEW.title}`);
    const [text, ...choices] = vscode.window.showInformationMessage.mock.lastCall!;
    expect(text).toContain(PREVIEW.title);
    expect(choices).toEqual(["Apply", "Show Evidence", "Dismiss"]);
  });

  it("is a warning, and never just \"Apply\", when it is not proven", async () => {
    vscode.state.choice = "Apply Unproven";
    await previews.offer({ ...PREVIEW, title: "builds, unproven", proven: false });
    expect(vscode.window.showWarningMessage.mock.lastCall).toEqual(["PerfOrch: common: builds, unproven", "Apply Unproven", "Show Diff", "Dismiss"]);
    expect(actions.apply).toHaveBeenCalledWith("s1");
  });

  it.each([
    ["types in the file", "/work shop/shop.py", "old\nmore"],
    ["is in another file", "/work shop/other.py", "old\n"],
  ])("asks by a message when the user %s, whose keys a diff would take", async (_, path, text) => {
    looksAt(path, text);
    await previews.offer(PREVIEW);
    expect(shownDiff()).toBeUndefined();
    expect(vscode.window.showInformationMessage.mock.calls[0]?.[0]).toContain(PREVIEW.title);
  });

  it("does what is chosen in the message", async () => {
    vscode.state.choice = "Apply";
    await previews.offer(PREVIEW);
    expect(actions.apply).toHaveBeenCalledWith("s1");
    vscode.state.choice = "Dismiss";
    await previews.offer(PREVIEW);
    expect(actions.dismiss).toHaveBeenCalledWith("s1");
    vscode.state.choice = "Show Diff";
    await previews.offer(PREVIEW);
    expect(shownDiff()).toBeDefined();
  });

  it("does nothing when the message is closed", async () => {
    await previews.offer(PREVIEW);
    expect(actions.apply).not.toHaveBeenCalled();
    expect(actions.dismiss).not.toHaveBeenCalled();
  });
});

describe("the buttons of the diff", () => {
  beforeEach(async () => {
    looksAt("/work shop/shop.py", "old\n");
    await previews.offer(PREVIEW);
  });

  it.each(["apply", "dismiss"] as const)("%s acts on the suggestion of the diff it stands in", async (name) => {
    await vscode.state.registered.get(`perforch.diff.${name}`)!(shownDiff()!.modified);
    expect(actions[name]).toHaveBeenCalledWith("s1");
  });

  it("act on the active diff when they come from the palette", async () => {
    vscode.state.active = { input: shownDiff() };
    await vscode.state.registered.get("perforch.diff.apply")!();
    expect(actions.apply).toHaveBeenCalledWith("s1");
  });

  it("show the evidence as a page", async () => {
    await vscode.state.registered.get("perforch.diff.evidence")!(shownDiff()!.modified);
    const [name, uri] = vscode.commands.executeCommand.mock.lastCall as [string, vscode.Uri];
    expect(name).toBe("markdown.showPreview");
    expect(content(uri)).toBe("# common\n");
  });

  it("say so in a diff that an earlier session left open", async () => {
    const old = new vscode.Uri("perforch", "/after/s0/shop.py");
    await vscode.state.registered.get("perforch.diff.apply")!(old);
    expect(actions.apply).not.toHaveBeenCalled();
    expect(vscode.window.showInformationMessage.mock.lastCall?.[0]).toContain("earlier session");
    expect(content(old)).toContain("earlier session");
  });
});

it("hides the message that waits for an answer once the suggestion is applied elsewhere, and no other message", async () => {
  vscode.window.showInformationMessage.mockImplementationOnce(() => new Promise(() => undefined));
  void previews.offer(PREVIEW);
  await previews.close("s2");
  expect(vscode.commands.executeCommand).not.toHaveBeenCalled();
  await previews.close("s1");
  expect(vscode.commands.executeCommand).toHaveBeenCalledExactlyOnceWith("notifications.hideToasts");
  await previews.close("s1");
  expect(vscode.commands.executeCommand).toHaveBeenCalledOnce();
});

it("closes the diff of one suggestion and leaves all other tabs open", async () => {
  looksAt("/work shop/shop.py", "old\n");
  await previews.offer(PREVIEW);
  const mine = { input: shownDiff() };
  const other = { input: new vscode.TabInputTextDiff(new vscode.Uri("git", "/a"), new vscode.Uri("file", "/a")) };
  const file = { input: new vscode.TabInputText(new vscode.Uri("file", "/work shop/shop.py")) };
  vscode.state.tabs = [file, mine, other];
  expect(await previews.close("s2")).toBe(false);
  expect(await previews.close("s1")).toBe(true);
  expect(vscode.state.tabs).toEqual([file, other]);
});
