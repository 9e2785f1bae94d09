"""From a command to a suggestion, an edit, or a plain word why there is none; in each of three editors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lsp_editor import Editor, Start
from lsprotocol import types
from pygls.uris import to_fs_path

from perforch_core.routing.profile import FILE, Profile
from perforch_core.task import Stage

pytestmark = pytest.mark.slow

SMILE = "😋"


def program(script: str, above: str = f'x = "{SMILE} ä"\n') -> str:
    return (
        f'{above}\n\ndef f(x):\n    "script: {script}"; y = "{SMILE}"; return x + 1\n\n\ndef g(x):\n    return f(x)\n'
    )


SUGGEST = "note measuring; sleep 0.05; import math; suggest x + 1 => 1 + x"


async def test_the_command_returns_a_job_at_once_and_ends_in_a_suggestion(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    job = await editor.optimize(uri, "x + 1")
    assert (await editor.job(job))["state"] in ("queued", "running")
    ended = await editor.ended(job)
    assert ended["state"] == "done"
    assert ended["text"].startswith("f: 2.3x faster at n = 10,000")
    (question,) = await editor.until(lambda: editor.questions)
    assert question.message == ended["text"]
    assert [a.title for a in question.actions or ()] == ["Apply", "Show", "Dismiss"]
    assert editor.edits == []
    assert editor.texts[uri] == program(SUGGEST)


async def test_progress_begins_tells_and_ends(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (bar,) = await editor.until(lambda: [p for p in editor.progress() if p and p[-1].kind == "end"])
    assert [type(v).__name__.removeprefix("WorkDoneProgress") for v in bar] == ["Begin", "Report", "End"]
    assert bar[0].title == "PerfOrch: Optimizing f"
    assert bar[0].cancellable
    assert bar[1].message == "measuring"
    assert bar[2].message.startswith("2.3x faster")


async def test_a_client_without_bars_of_its_own_gets_progress_on_its_token(start: Start) -> None:
    def no_bars(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.window is not None
        capabilities.window.work_done_progress = None

    editor = await start("emacs", changes=[no_bars])
    uri = editor.open("m.py", program(SUGGEST))
    editor.client.progress_reports["mine"] = []
    answer = await editor.command("perforch.optimize", {"uri": uri, "position": editor.at(uri, "x + 1")}, token="mine")
    await editor.ended(answer["job"])
    kinds = [v.kind for v in editor.client.progress_reports["mine"]]
    assert kinds == ["begin", "report", "end"]
    assert list(editor.client.progress_reports) == ["mine"]


async def test_apply_makes_one_edit_that_one_undo_takes_back(editor: Editor, editor_name: str) -> None:
    editor.answer = "Apply"
    before = program(SUGGEST)
    uri = editor.open("m.py", before)
    await editor.optimize(uri, "x + 1")
    (params,) = await editor.until(lambda: editor.edits)
    assert editor.texts[uri] == "import math\n" + before.replace("return x + 1", "return 1 + x")
    edit = params.edit
    (document,) = edit.document_changes or ()
    assert isinstance(document, types.TextDocumentEdit)
    assert document.text_document.version == 1
    if editor_name == "vscode":
        assert all(isinstance(e, types.AnnotatedTextEdit) for e in document.edits)
        (note,) = (edit.change_annotations or {}).values()
        assert note.label.startswith("PerfOrch: 2.3x faster")
    else:
        assert edit.change_annotations is None


async def test_a_client_without_versions_gets_plain_changes(start: Start) -> None:
    def plain_edits(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.workspace is not None
        capabilities.workspace.workspace_edit = None

    editor = await start("emacs", changes=[plain_edits])
    uri = editor.open("m.py", program(SUGGEST))
    await editor.optimize(uri, "x + 1", apply=True)
    (params,) = await editor.until(lambda: editor.edits)
    assert list(params.edit.changes or ()) == [uri]
    assert "return 1 + x" in editor.texts[uri]


async def test_the_state_follows_apply_and_undo(editor: Editor) -> None:
    before = program(SUGGEST)
    uri = editor.open("m.py", before)
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    assert suggestion["state"] == "ready"
    assert suggestion["stale"] is None
    assert await editor.command("perforch.apply", suggestion["id"]) == {"applied": True, "id": suggestion["id"]}
    (suggestion,) = await editor.suggestions()
    assert suggestion["state"] == "applied"
    code, message = await editor.error("perforch.apply", suggestion["id"])
    assert (code, "applied already" in message) == (-32803, True)
    editor.change(uri, "import math\n", "")
    editor.change(uri, "return 1 + x", "return x + 1")
    assert editor.texts[uri] == before
    assert (await editor.command("perforch.apply", suggestion["id"]))["applied"]


async def test_apply_directly_by_argument_and_by_setting(start: Start) -> None:
    editor = await start("emacs", initialization_options={"applyDirectly": True})
    uri = editor.open("m.py", program(SUGGEST))
    await editor.optimize(uri, "x + 1", apply=False)
    await editor.until(lambda: editor.questions)
    assert editor.edits == []
    await editor.optimize(uri, "x + 1")
    await editor.until(lambda: editor.edits)
    assert len(editor.questions) == 1


async def test_what_is_unproven_is_said_to_be_and_never_applied_directly(editor: Editor) -> None:
    uri = editor.open("m.py", program("unproven x + 1 => 1 + x"))
    await editor.ended(await editor.optimize(uri, "x + 1", apply=True))
    (question,) = await editor.until(lambda: editor.questions)
    assert question.message == "f: builds, unproven"
    assert editor.edits == []


async def test_an_edit_above_moves_the_suggestion(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    editor.change(uri, 'x = "', f'z = "{SMILE}"\nx = "')
    editor.change(uri, "return f(x)", "return f(x) + 1")
    (suggestion,) = await editor.suggestions()
    await editor.command("perforch.apply", suggestion["id"])
    assert editor.texts[uri].count("return 1 + x") == 1
    assert editor.texts[uri].count("return f(x) + 1") == 1
    assert editor.texts[uri].startswith(f'z = "{SMILE}"\nimport math\nx = ')


async def test_an_edit_inside_the_target_makes_it_stale(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    editor.change(uri, 'y = "', 'why = "')
    text = editor.texts[uri]
    code, message = await editor.error("perforch.apply", suggestion["id"])
    assert (code, message) == (-32803, "f has changed since this was proven. Run PerfOrch on it again.")
    assert editor.edits == []
    assert editor.texts[uri] == text
    (suggestion,) = await editor.suggestions()
    assert suggestion["stale"] == message


async def test_an_edit_of_what_the_target_uses_makes_it_stale(editor: Editor) -> None:
    above = "def helper():\n    return 1\n"
    uri = editor.open("m.py", program(SUGGEST.replace("1 + x", "helper() + x"), above))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    editor.change(uri, "return 1\n", "return 2\n")
    _, message = await editor.error("perforch.apply", suggestion["id"])
    assert message == "f uses helper, which changed since this was proven. Run PerfOrch again."


async def test_a_job_that_ends_after_the_target_changed_does_not_touch_it(editor: Editor) -> None:
    editor.answer = "Apply"
    uri = editor.open("m.py", program("sleep 0.3; suggest x + 1 => 1 + x"))
    job = await editor.optimize(uri, "x + 1")
    editor.change(uri, 'y = "', 'why = "')
    await editor.ended(job)
    await editor.until(lambda: [m for m in editor.messages if "has changed since" in m])
    assert editor.edits == []


async def test_unsaved_text_is_what_is_worked_on(editor: Editor) -> None:
    uri = editor.open("m.py", "x = 1\n")
    editor.change(uri, "x = 1\n", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    preview = await editor.command("perforch.preview", suggestion["id"])
    assert preview["before"] == program(SUGGEST)
    assert preview["after"] == "import math\n" + program(SUGGEST).replace("return x + 1", "return 1 + x")


async def test_windows_line_ends_stay(editor: Editor) -> None:
    before = program("suggest x + 1 => 1 + x").replace("\n", "\r\n")
    uri = editor.open("m.py", before)
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    await editor.command("perforch.apply", suggestion["id"])
    assert editor.texts[uri] == before.replace("return x + 1", "return 1 + x")


async def test_nothing_better_is_said_with_what_was_tried(editor: Editor) -> None:
    uri = editor.open("m.py", program("unchanged It is as fast as it gets."))
    job = await editor.ended(await editor.optimize(uri, "x + 1"))
    words = "f: It is as fast as it gets. Tried set-for-membership: not faster."
    assert job["text"] == words
    await editor.until(lambda: words in editor.messages)
    assert editor.questions == []


async def test_each_failure_has_a_clear_message(editor: Editor) -> None:
    for script, words in [
        ("environment Install bubblewrap to run code safely.", "Install bubblewrap to run code safely."),
        ("user There are no tests for f.", "There are no tests for f."),
        ("boom", "ZeroDivisionError"),
        ("crash", "worker process ended unexpectedly"),
    ]:
        name = f"{script.split()[0]}.py"
        uri = editor.open(name, program(script))
        job = await editor.ended(await editor.optimize(uri, "x + 1"))
        assert job["state"] == "failed"
        assert words in job["text"]
        assert "Traceback" not in job["text"]
        await editor.until(lambda text=job["text"]: text in editor.messages)
    uri = editor.open("outside.py", program(""))
    job = await editor.ended(await editor.optimize(uri, 'x = "'))
    assert "not in a function" in job["text"]


async def test_cancel_by_command_and_by_the_bar(editor: Editor) -> None:
    uri = editor.open("m.py", program("note ready; sleep 60"))
    first = await editor.optimize(uri, "x + 1")
    second = await editor.optimize(uri, "x + 1")
    await editor.until(lambda: [p for p in editor.progress() if p and p[-1].kind == "report"])
    token = next(t for t, p in editor.client.progress_reports.items() if p[-1].kind == "report")
    editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token=token))
    assert (await editor.ended(first))["state"] == "cancelled"
    assert (await editor.command("perforch.cancel", second)) == {"cancelled": True}
    assert (await editor.ended(second))["state"] == "cancelled"
    bars = await editor.until(
        lambda: len(editor.progress()) == 2 and all(p and p[-1].kind == "end" for p in editor.progress()) and 1
    )
    assert bars
    assert (await editor.command("perforch.cancel", second)) == {"cancelled": False}
    assert "no job nonsense" in (await editor.error("perforch.cancel", "nonsense"))[1]
    assert editor.messages == []


def verdicts(editor: Editor) -> tuple[int, int]:
    with Profile(editor.root / "config" / FILE) as profile:
        return profile.acceptance("rules", stage=Stage.REFINE)


async def test_the_profile_learns_what_was_accepted_and_rejected(start: Start) -> None:
    editor = await start("vscode")
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    await editor.command("perforch.apply", suggestion["id"])
    await editor.until(lambda: verdicts(editor) == (1, 1), "the verdict")
    uri = editor.open("n.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    await editor.command("perforch.reject", (await editor.suggestions())[-1]["id"])
    await editor.until(lambda: verdicts(editor) == (1, 2), "the verdict")


async def test_reject_and_retry(editor: Editor) -> None:
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (suggestion,) = await editor.suggestions()
    await editor.command("perforch.reject", suggestion["id"])
    assert [s["state"] for s in await editor.suggestions()] == ["rejected"]
    again = await editor.command("perforch.retry", suggestion["id"])
    await editor.ended(again["job"])
    assert [s["state"] for s in await editor.suggestions()] == ["rejected", "ready"]


async def test_show_opens_the_evidence(start: Start) -> None:
    editor = await start("neovim")
    editor.answer = "Show"
    uri = editor.open("m.py", program(SUGGEST))
    await editor.optimize(uri, "x + 1")
    (document,) = await editor.until(lambda: editor.client.shown_documents)
    page = Path(to_fs_path(document.uri) or "").read_text(encoding="utf-8")
    assert "2.31x faster at n = 10,000 (2.20 to 2.40, 99% confidence)" in page
    assert "19 of 20 small faults" in page
    assert '+    "script: ' in page


async def test_a_client_that_knows_our_messages_is_told_by_events_alone(start: Start) -> None:
    editor = await start("vscode", experimental=True)
    uri = editor.open("m.py", program(SUGGEST))
    job = await editor.optimize(uri, "x + 1")
    await editor.ended(job)
    events = await editor.until(lambda: [e for e in editor.events if e.get("result")] and editor.events)
    states = [e["job"]["state"] for e in events if e["type"] == "job"]
    assert states[0] == "running"
    assert states[-1] == "done"
    (suggestion,) = [e["suggestion"] for e in events if e["type"] == "suggestion"]
    assert suggestion["title"].startswith("2.3x faster")
    assert suggestion["word"] == "verified"
    uri = editor.open("n.py", program("user No such thing."))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    (event,) = await editor.until(lambda: [e for e in editor.events if e.get("failure")])
    assert event["severity"] == "warning"
    assert event["failure"]["message"] == "No such thing."
    assert editor.questions == []
    assert editor.messages == []


async def test_a_client_that_never_answers_does_not_hold_the_next_job(start: Start) -> None:
    editor = await start("vscode")

    stuck = asyncio.Event()

    async def silent(params: types.ShowMessageRequestParams) -> None:
        editor.questions.append(params)
        await stuck.wait()

    editor.client.protocol.fm.features[types.WINDOW_SHOW_MESSAGE_REQUEST] = silent
    uri = editor.open("m.py", program(SUGGEST))
    await editor.ended(await editor.optimize(uri, "x + 1"))
    await editor.until(lambda: editor.questions)
    assert (await editor.ended(await editor.optimize(uri, "x + 1")))["state"] == "done"
    stuck.set()
