"""Code actions, lenses, hints and settings, in each of three editors."""

from __future__ import annotations

import asyncio
import time

from lsp_editor import Editor, Start, plain
from lsprotocol import types
from test_lsp_jobs import SUGGEST, program

AUTOMATIC, INVOKED = 2, 1

SLOW = """x = "😋"


def common(a: list[int], b: list[int]) -> list[int]:
    out = []
    for item in a:
        "😋"; out.append(item) if item in b else None
    return out
"""


def titles(actions: list[types.CodeAction]) -> list[str]:
    return [a.title for a in actions]


STAGES = ["PerfOrch: Optimize f for speed", "PerfOrch: Fix f", "PerfOrch: Generate f"]


async def test_the_three_stages_are_offered_at_a_function_when_asked_for(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    actions = await editor.actions(uri, "x + 1")
    assert titles(actions) == STAGES
    assert {a.kind for a in actions} == {types.CodeActionKind.RefactorRewrite}
    assert [a.command.command for a in actions if a.command] == [
        "perforch.optimize",
        "perforch.fix",
        "perforch.generate",
    ]
    command = actions[0].command
    assert command is not None
    answer = await editor.command(command.command, *plain(command.arguments))
    assert (await editor.ended(answer["job"]))["suggestion"]


async def test_no_bulb_for_moving_the_cursor_or_outside_functions(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    assert await editor.actions(uri, "x + 1", kind=AUTOMATIC) == []
    assert await editor.actions(uri, 'x = "') == []
    assert await editor.actions(uri, "x + 1", only=[types.CodeActionKind.QuickFix]) == []
    assert titles(await editor.actions(uri, "x + 1", only=[types.CodeActionKind.Refactor])) == STAGES


async def test_a_ready_suggestion_is_an_action_that_edits(editor: Editor, editor_name: str) -> None:
    before = program(SUGGEST)
    uri = editor.open("m.py", before)
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (action,) = await editor.actions(uri, "x + 1", kind=AUTOMATIC)
    assert action.title.startswith("PerfOrch: apply f: 2.3x faster")
    assert action.is_preferred
    assert action.edit is None  # made when it is chosen, for the text as it is then
    editor.change(uri, "return f(x)", "return f(x) - 1")
    if editor_name == "emacs":  # cannot resolve
        assert action.command is not None
        await editor.command(action.command.command, *plain(action.command.arguments))
    else:
        action = await editor.client.code_action_resolve_async(action)
        assert action.edit is not None
        assert editor.apply_workspace_edit(action.edit).applied
    after = "import math\n" + before.replace("return x + 1", "return 1 + x").replace("f(x)\n", "f(x) - 1\n")
    assert editor.texts[uri] == after
    assert [s["state"] for s in await editor.suggestions()] == ["applied"]
    assert await editor.actions(uri, "1 + x", kind=AUTOMATIC) == []


async def test_resolving_a_stale_action_gives_it_back_with_a_warning(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (action,) = await editor.actions(uri, "x + 1", kind=AUTOMATIC)
    editor.change(uri, "return x + 1", "return x + 10")
    again = await editor.client.code_action_resolve_async(action)
    assert again.edit is None
    await editor.until(lambda: [m for m in editor.messages if "has changed since" in m])


async def test_a_client_without_action_literals_gets_commands(start: Start) -> None:
    def old(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.text_document is not None
        capabilities.text_document.code_action = types.CodeActionClientCapabilities()

    editor = await start("emacs", changes=[old])
    uri = editor.open("m.py", program(SUGGEST))
    found = await editor.client.text_document_code_action_async(
        types.CodeActionParams(
            text_document=types.TextDocumentIdentifier(uri=uri),
            range=types.Range(start=editor.position(uri, 30), end=editor.position(uri, 30)),
            context=types.CodeActionContext(diagnostics=[]),
        )
    )
    assert [type(a) for a in found or ()] == [types.Command] * 3


async def lenses(editor: Editor, uri: str) -> list[types.CodeLens]:
    found = await editor.client.text_document_code_lens_async(
        types.CodeLensParams(text_document=types.TextDocumentIdentifier(uri=uri))
    )
    return list(found or ())


async def test_the_lens_is_there_while_the_suggestion_is_true(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    assert await lenses(editor, uri) == []
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (lens,) = await lenses(editor, uri)
    assert lens.command is not None
    assert lens.command.title == "2.3x faster at n = 10,000: apply"
    assert lens.range.start == editor.position(uri, editor.texts[uri].index("def f"))
    editor.change(uri, "return x + 1", "return x + 10")
    assert await lenses(editor, uri) == []
    editor.change(uri, "return x + 10", "return x + 1")
    (lens,) = await lenses(editor, uri)
    assert lens.command is not None
    await editor.command(lens.command.command, *plain(lens.command.arguments))
    assert "return 1 + x" in editor.texts[uri]
    assert await lenses(editor, uri) == []


async def hints(editor: Editor, uri: str) -> list[types.Diagnostic]:
    return list(await editor.until(lambda: editor.client.diagnostics.get(uri), "hints"))


async def test_slow_patterns_are_hinted_at_on_open_and_on_save(editor: Editor) -> None:
    uri = editor.open("slow.py", SLOW)
    found = await hints(editor, uri)
    assert {d.source for d in found} == {"perforch"}
    assert {d.severity for d in found} == {types.DiagnosticSeverity.Hint}
    assert all(d.code and d.message for d in found)
    place = SLOW.index("item in b")
    assert types.Range(start=editor.position(uri, place), end=editor.position(uri, place + 9)) in [
        d.range for d in found
    ]
    editor.change(uri, SLOW, "x = 1\n")
    editor.save(uri)
    await editor.until(lambda: not editor.client.diagnostics[uri], "their going away")


async def test_hints_go_with_the_edit_that_answers_them(start: Start) -> None:
    editor = await start("neovim")
    script = '    "script: suggest item in b => item == 3"\n    out = []'
    uri = editor.open("slow.py", SLOW.replace("    out = []", script))
    assert await hints(editor, uri)
    await editor.ended(await editor.optimize(uri, "item in b else"))
    (suggestion,) = await editor.suggestions()
    await editor.command("perforch.apply", suggestion["id"])
    assert "if item == 3" in editor.texts[uri]
    await editor.until(lambda: not editor.client.diagnostics[uri], "their going away")


async def test_a_hint_has_a_quick_fix_that_starts_a_job(editor: Editor) -> None:
    uri = editor.open("slow.py", SLOW)
    found = await hints(editor, uri)
    line = found[0].range.start.line
    words = SLOW.split("\n")[line].strip()
    (fix, *_) = await editor.actions(uri, words, kind=AUTOMATIC)
    assert fix.kind == types.CodeActionKind.QuickFix
    assert fix.command is not None
    answer = await editor.command(fix.command.command, *plain(fix.command.arguments))
    assert (await editor.ended(answer["job"]))["symbol"] == "common"


async def test_closing_takes_the_hints_away(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("slow.py", SLOW)
    await hints(editor, uri)
    editor.client.text_document_did_close(
        types.DidCloseTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=uri))
    )
    await editor.until(lambda: not editor.client.diagnostics[uri], "their going away")


async def test_settings_are_pulled_pushed_and_checked(start: Start) -> None:
    editor = await start("neovim", initialization_options={"hints": False, "models": "gpt"})
    await editor.until(lambda: [m for m in editor.messages if "perforch.models must be a list of model names" in m])
    uri = editor.open("slow.py", SLOW)
    editor.save(uri)
    await asyncio.sleep(0.5)
    assert not editor.client.diagnostics.get(uri)
    push = types.DidChangeConfigurationParams(settings={"perforch": {"hints": True, "applyDirectly": True}})
    editor.client.workspace_did_change_configuration(push)
    await hints(editor, uri)
    uri = editor.open("m.py", program(SUGGEST))
    await editor.optimize(uri, "x + 1")
    await editor.until(lambda: editor.edits, "the edit")
    editor.client.set_configuration({"hints": False}, section="perforch")
    editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=None))
    slow = (editor.root / "slow.py").as_uri()
    await editor.until(lambda: not editor.client.diagnostics[slow], "their going away")


async def test_verifying_on_save_makes_a_lens_without_a_question(start: Start) -> None:
    editor = await start("vscode", initialization_options={"verifyOnSave": True})
    text = SLOW.replace("-> list[int]:\n", '-> list[int]:\n    "script: suggest return out => return list(out)"\n')
    uri = editor.open("slow.py", text)
    await hints(editor, uri)
    assert (await editor.request("perforch/jobs", {}))["jobs"] == []
    editor.save(uri)
    async with asyncio.timeout(30):
        while not (found := await lenses(editor, uri)):
            await asyncio.sleep(0.05)
    assert len(found) == 1
    assert editor.questions == []
    assert editor.progress() == []
    (job,) = (await editor.request("perforch/jobs", {}))["jobs"]
    assert job["background"]
    editor.save(uri)
    await asyncio.sleep(0.3)
    assert len((await editor.request("perforch/jobs", {}))["jobs"]) == 1


async def test_what_the_user_asks_for_goes_before_the_background(start: Start) -> None:
    editor = await start("vscode", initialization_options={"verifyOnSave": True})
    slow = editor.open("slow.py", SLOW.replace("-> list[int]:\n", '-> list[int]:\n    "script: sleep 60"\n'))
    editor.save(slow)
    async with asyncio.timeout(30):
        while not (await editor.request("perforch/jobs", {}))["jobs"]:
            await asyncio.sleep(0.05)
    uri = editor.open("m.py", program(SUGGEST))
    assert (await editor.ended(await editor.optimize(uri, "x + 1")))["state"] == "done"


async def test_code_actions_stay_fast_while_a_job_runs(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("m.py", program("note ready; busy 1.5; suggest x + 1 => 1 + x"))
    job = await editor.optimize(uri, "x + 1")
    await editor.until(lambda: [p for p in editor.progress() if p and p[-1].kind == "report"])
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        assert await editor.actions(uri, "x + 1")
        times.append(time.perf_counter() - begin)
    assert (await editor.job(job))["state"] == "running"
    # Generous on purpose: held by the job, each would take as long as it does.
    assert sorted(times)[len(times) // 2] < 0.3
    assert (await editor.ended(job))["state"] == "done"


async def test_other_languages_are_left_alone(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("n.txt", SLOW)
    assert await editor.actions(uri, "def") == []
    editor.save(uri)
    assert await lenses(editor, uri) == []
    assert not editor.client.diagnostics.get(uri)
