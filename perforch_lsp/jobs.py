"""The jobs of one session: from a command to a suggestion, or to a plain word why there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from perforch_core.engine import Engine, JobEvent, Request
from perforch_core.task import Stage, UserError
from perforch_lsp import edits, report
from perforch_lsp.progress import Progress
from perforch_lsp.suggestions import Suggestion, from_result

if TYPE_CHECKING:
    from perforch_lsp.session import Session

EVENT = "perforch/event"
REMEMBERED = 50
"""Ended jobs that are still listed by perforch/jobs."""

APPLY, SHOW, DISMISS = "Apply", "Show", "Dismiss"


@dataclass(slots=True, kw_only=True)
class Job:
    """One job. `apply`: do not ask before applying what is proven. `background`: the user did not ask for it."""

    id: str
    uri: str
    symbol: str
    request: Request
    apply: bool
    background: bool
    progress: Progress | None
    state: str = "queued"
    text: str = ""
    started: float = 0.0
    suggestion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As perforch/jobs and perforch/event tell it."""
        return {
            "id": self.id,
            "uri": self.uri,
            "symbol": self.symbol,
            "stage": self.request.stage.value,
            "state": self.state,
            "text": self.text,
            "background": self.background,
            "apply": self.apply,
            "suggestion": self.suggestion,
        }


STAGE_WORDS = {Stage.GENERATE: "Generating", Stage.FIX: "Fixing", Stage.REFINE: "Optimizing"}


class Jobs:
    """Starts jobs, follows them and ends them as the client can show it."""

    def __init__(self, session: Session, command: Sequence[str] | None = None) -> None:
        self._session = session
        self._engine = Engine(self._hear, command=command)
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        *,
        uri: str,
        request: Request,
        symbol: str,
        apply: bool = False,
        background: bool = False,
        client_token: types.ProgressToken | None = None,
    ) -> str:
        """Submit a job and return its id. What runs in the background makes way for what the user asks for."""
        if not background:
            for job in self._jobs.values():
                if job.background and job.state in ("queued", "running"):
                    self._engine.cancel(job.id)
        number = self._engine.submit(request)
        title = f"PerfOrch: {STAGE_WORDS[request.stage]} {symbol}".rstrip()
        bar = None if background else Progress(self._session, title, client_token)
        self._jobs[number] = Job(
            id=number, uri=uri, symbol=symbol, request=request, apply=apply, background=background, progress=bar
        )
        self._forget_old()
        return number

    def cancel(self, number: str) -> bool:
        """Cancel a job; False when it is over. Raises UserError when there is none of that id."""
        if number not in self._jobs:
            raise UserError(f"There is no job {number}; perforch/jobs lists those there are.")
        return self._engine.cancel(number)

    def cancel_by_token(self, token: types.ProgressToken) -> None:
        """Cancel the job whose progress bar was cancelled."""
        for job in self._jobs.values():
            if job.progress is not None and job.progress.token == token:
                self._engine.cancel(job.id)

    def all(self) -> list[Job]:
        """All jobs, the newest last."""
        return list(self._jobs.values())

    async def aclose(self) -> None:
        """End all jobs and the worker."""
        await self._engine.aclose()

    def _forget_old(self) -> None:
        over = [job.id for job in self._jobs.values() if job.state not in ("queued", "running")]
        for number in over[: max(0, len(over) - REMEMBERED)]:
            del self._jobs[number]

    def _hear(self, event: JobEvent) -> None:
        job = self._jobs.get(event.job)
        if job is None:
            return
        match event.kind:
            case "started":
                job.state, job.started = "running", time.monotonic()
                self._tell(job)
            case "progress":
                job.text = event.data["text"]
                if job.progress is not None:
                    job.progress.report(job.text)
                self._tell(job, progress=event.data)
            case "done":
                job.symbol = event.data["target"]["symbol"]
                self._done(job, event.data)
            case "failed":
                job.state, job.text = "failed", event.data["message"]
                serious = event.data["kind"] != "user"
                self._end(job, types.MessageType.Error if serious else types.MessageType.Warning, failure=event.data)
            case "cancelled":
                job.state, job.text = "cancelled", "cancelled"
                if job.progress is not None:
                    job.progress.end("cancelled")
                self._tell(job)

    def _done(self, job: Job, result: dict[str, Any]) -> None:
        job.state = "done"
        if result["status"] in ("suggested", "unproven") and result["edit"]:
            suggestion = from_result(job.id, job.uri, job.request.text, result)
            self._session.suggestions.add(suggestion)
            job.suggestion, job.text = suggestion.id, report.headline(suggestion)
            if job.progress is not None:
                job.progress.end(suggestion.title)
            self.suggestion_changed(suggestion)
            self._tell(job, result=result)
            if not job.background:
                self._session.spawn(self._offer(job, suggestion))
            return
        failed = result["status"] == "failed"
        job.state = "failed" if failed else "done"
        job.text = report.outcome(job.symbol, result)
        self._end(job, types.MessageType.Warning if failed else types.MessageType.Info, result=result)

    def _end(self, job: Job, severity: types.MessageType, **more: Any) -> None:
        if job.progress is not None:
            job.progress.end(job.text)
        self._tell(job, severity=severity.name.lower(), **more)
        if not job.background and not self._session.previews_itself:
            self._session.message(job.text, severity)

    async def _offer(self, job: Job, suggestion: Suggestion) -> None:
        if job.apply and suggestion.proven:
            try:
                await apply(self._session, suggestion)
            except UserError as error:
                self._session.message(str(error), types.MessageType.Warning)
            return
        if self._session.previews_itself:
            return
        choices = [types.MessageActionItem(title=title) for title in (APPLY, SHOW, DISMISS)]
        answer = await self._session.window_show_message_request_async(
            types.ShowMessageRequestParams(
                type=types.MessageType.Info, message=report.headline(suggestion), actions=choices
            )
        )
        choice = answer.title if answer is not None else None
        if choice == SHOW:
            await show(self._session, suggestion)
        elif choice == APPLY:
            try:
                await apply(self._session, suggestion)
            except UserError as error:
                self._session.message(str(error), types.MessageType.Warning)

    def _tell(self, job: Job, **more: Any) -> None:
        if self._session.previews_itself:
            self._session.wire.notify(EVENT, {"type": "job", "job": job.to_json(), **more})

    def suggestion_changed(self, suggestion: Suggestion) -> None:
        """Tell the client: its lenses are out of date, and a client that knows our messages hears of it."""
        session = self._session
        if session.previews_itself:
            session.wire.notify(EVENT, {"type": "suggestion", "suggestion": suggestion_json(session, suggestion)})
        workspace = session.client_capabilities.workspace
        if workspace is not None and workspace.code_lens is not None and workspace.code_lens.refresh_support:
            session.spawn(_refresh_lenses(session))


async def _refresh_lenses(session: Session) -> None:
    await session.wire.ask(types.WORKSPACE_CODE_LENS_REFRESH, None)


def suggestion_json(session: Session, suggestion: Suggestion) -> dict[str, Any]:
    """A suggestion as perforch/suggestions and perforch/event tell it; `stale` says why it cannot be applied now."""
    stale: str | None = None
    line: int | None = None
    version: int | None = None
    try:
        document = session.documents.document(suggestion.uri)
        version = document.version
        moved = session.place(suggestion, document)
        line = document.range(moved[0].start, moved[0].start).start.line if moved else None
    except (edits.Stale, UserError) as error:
        stale = str(error)
    return {
        "id": suggestion.id,
        "job": suggestion.job,
        "uri": suggestion.uri,
        "version": version,
        "stage": suggestion.stage,
        "symbol": suggestion.symbol,
        "title": suggestion.title,
        "state": suggestion.state,
        "proven": suggestion.proven,
        "word": suggestion.result["evidence"]["word"],
        "model": suggestion.result["model"],
        "line": line,
        "stale": stale,
        "evidence": suggestion.result["evidence"],
        "diff": suggestion.result["diff"],
    }


async def apply(session: Session, suggestion: Suggestion) -> None:
    """Apply a suggestion as one edit. Raises UserError when that would not be true to its evidence."""
    document = session.documents.document(suggestion.uri)
    try:
        moved = session.place(suggestion, document)
    except edits.Stale as error:
        if suggestion.state == "applied":
            raise UserError(f"{report.headline(suggestion)}: this is applied already.") from None
        raise UserError(str(error)) from None
    # Nothing is awaited between looking at the text and sending the edit for it.
    answer = await session.workspace_apply_edit_async(
        types.ApplyWorkspaceEditParams(
            edit=edits.workspace_edit(
                document,
                moved,
                capabilities=session.client_capabilities,
                client=session.client_name,
                label=f"PerfOrch: {suggestion.title}",
                description=suggestion.symbol,
            ),
            label=f"PerfOrch: {suggestion.title}",
        )
    )
    if not answer.applied:
        why = f" ({answer.failure_reason})" if answer.failure_reason else ""
        raise UserError(f"The editor did not apply the change to {suggestion.symbol}{why}. Apply it again.")
    decide(session, suggestion, accepted=True)


def decide(session: Session, suggestion: Suggestion, *, accepted: bool) -> None:
    """The user has applied or rejected a suggestion. The profile learns of it; nobody waits for that."""
    if suggestion.state == ("applied" if accepted else "rejected"):
        return
    decided = session.suggestions.set_state(suggestion.id, "applied" if accepted else "rejected")
    session.jobs.suggestion_changed(decided)
    session.spawn(asyncio.to_thread(_record, decided, accepted))


def _record(suggestion: Suggestion, accepted: bool) -> None:
    from perforch_core.routing.profile import Profile, default_path

    with Profile(default_path()) as profile:
        profile.record_verdict(
            suggestion.id,
            model=suggestion.result["model"] or "",
            language=suggestion.result["language"],
            stage=Stage(suggestion.stage),
            accepted=accepted,
            rule=suggestion.rule,
        )


async def show(session: Session, suggestion: Suggestion) -> None:
    """Show evidence and diff: as a document where the client opens documents, else as a message."""
    window = session.client_capabilities.window
    if window is None or window.show_document is None or not window.show_document.support:
        session.message(f"{report.headline(suggestion)}\n\n{suggestion.result['diff']}")
        return
    path = _write_report(suggestion)
    await session.window_show_document_async(types.ShowDocumentParams(uri=path.as_uri(), take_focus=True))


def _write_report(suggestion: Suggestion) -> Any:
    import platformdirs

    folder = platformdirs.user_cache_path("perforch") / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    old = sorted(folder.glob("*.md"), key=lambda p: p.stat().st_mtime)
    for path in old[:-REMEMBERED]:
        path.unlink(missing_ok=True)
    path = folder / f"{suggestion.symbol}-{suggestion.id}.md".replace("/", "_")
    path.write_text(report.markdown(suggestion), encoding="utf-8")
    return path
