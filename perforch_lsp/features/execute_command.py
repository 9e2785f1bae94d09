"""workspace/executeCommand: starting jobs, and doing something with suggestions.

perforch.generate, .fix and .optimize take one object and return {"job": id} at once, because some clients block on a
command; the job tells of itself by progress, messages and events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lsprotocol import types

from perforch_core.engine import Request
from perforch_core.task import Objective, Stage, UserError
from perforch_lsp import jobs, report
from perforch_lsp.documents import Document
from perforch_lsp.protocol import InvalidParams, client_token
from perforch_lsp.session import Session
from perforch_lsp.suggestions import Suggestion

SHAPE = '{"uri", "position" or "range" or "symbol", "objective"?, "apply"?, "models"?, "specification"?, "workload"?}'


def generate(ls: Session, *args: Any) -> dict[str, str]:
    """perforch.generate: write the function at the cursor from its signature, docs and examples."""
    return _start(ls, Stage.GENERATE, args)


def fix(ls: Session, *args: Any) -> dict[str, str]:
    """perforch.fix: mend the function at the cursor until its tests pass."""
    return _start(ls, Stage.FIX, args)


def optimize(ls: Session, *args: Any) -> dict[str, str]:
    """perforch.optimize: find a version of the function at the cursor that is proven to be faster."""
    return _start(ls, Stage.REFINE, args)


async def apply(ls: Session, *args: Any) -> dict[str, Any]:
    """perforch.apply: apply a suggestion as one edit. Fails when the document has moved on."""
    suggestion = _suggestion(ls, args)
    await jobs.apply(ls, suggestion)
    return {"applied": True, "id": suggestion.id}


async def preview(ls: Session, *args: Any) -> dict[str, Any]:
    """perforch.preview: the texts before and after, for a client that shows a diff itself; others are shown one."""
    suggestion = _suggestion(ls, args)
    if not ls.previews_itself:
        await jobs.show(ls, suggestion)
    return {
        "id": suggestion.id,
        "uri": suggestion.uri,
        "title": suggestion.title,
        "before": suggestion.base,
        "after": suggestion.after,
        "diff": suggestion.result["diff"],
        "report": report.markdown(suggestion),
    }


async def show_report(ls: Session, *args: Any) -> dict[str, str]:
    """perforch.showReport: the evidence of a suggestion as a page of Markdown."""
    suggestion = _suggestion(ls, args)
    if not ls.previews_itself:
        await jobs.show(ls, suggestion)
    return {"id": suggestion.id, "report": report.markdown(suggestion)}


def reject(ls: Session, *args: Any) -> dict[str, Any]:
    """perforch.reject: never show this suggestion again."""
    suggestion = _suggestion(ls, args)
    jobs.decide(ls, suggestion, accepted=False)
    return {"rejected": True, "id": suggestion.id}


def retry(ls: Session, *args: Any) -> dict[str, str]:
    """perforch.retry: the same request again, on the text as it is now."""
    suggestion = _suggestion(ls, args)
    old = next((job for job in ls.jobs.all() if job.id == suggestion.job), None)
    objective = old.request.objective.value if old is not None else Objective.TIME.value
    place = {"uri": suggestion.uri, "symbol": suggestion.symbol, "objective": objective}
    return _start(ls, Stage(suggestion.stage), (place,))


def cancel(ls: Session, *args: Any) -> dict[str, bool]:
    """perforch.cancel: end a job and everything that it started."""
    return {"cancelled": ls.jobs.cancel(_text(args, "perforch.cancel takes one argument: the id of a job"))}


COMMANDS: dict[str, Callable[..., Any]] = {
    "perforch.generate": generate,
    "perforch.fix": fix,
    "perforch.optimize": optimize,
    "perforch.apply": apply,
    "perforch.preview": preview,
    "perforch.showReport": show_report,
    "perforch.reject": reject,
    "perforch.retry": retry,
    "perforch.cancel": cancel,
}


def _start(ls: Session, stage: Stage, args: tuple[Any, ...]) -> dict[str, str]:
    place = args[0] if len(args) == 1 else None
    if not isinstance(place, dict) or not isinstance(place.get("uri"), str):
        raise InvalidParams(f"This command takes one argument: {SHAPE}")
    document = ls.documents.document(place["uri"])
    symbol = _optional(place, "symbol", str)
    offset = None if symbol is not None else _offset(document, place)
    function = ls.function_at(document, offset) if offset is not None else None
    objective = _optional(place, "objective", str) or Objective.TIME.value
    if objective not in list(Objective):
        raise InvalidParams(f"objective must be one of {', '.join(Objective)}, not {objective!r}")
    models = _optional(place, "models", list)
    directly = _optional(place, "apply", bool)
    request = Request(
        stage=stage,
        path=ls.documents.path(document.uri),
        text=document.source,
        symbol=symbol,
        offset=offset,
        objective=Objective(objective),
        budget=ls.settings.budget,
        models=tuple(str(m) for m in models) if models is not None else ls.settings.models,
        specification=_optional(place, "specification", str) or "",
        workload=_optional(place, "workload", str),
        settings=ls.request_settings,
    )
    job = ls.jobs.start(
        uri=document.uri,
        request=request,
        symbol=symbol or (function.symbol if function is not None else ""),
        apply=ls.settings.apply_directly if directly is None else directly,
        client_token=client_token.get(),
    )
    return {"job": job}


def _optional(place: dict[str, Any], name: str, kind: type) -> Any:
    value = place.get(name)
    if value is not None and not isinstance(value, kind):
        raise InvalidParams(f"{name} must be a {kind.__name__}. This command takes one argument: {SHAPE}")
    return value


def _offset(document: Document, place: dict[str, Any]) -> int:
    span = place.get("range")
    position = span.get("start") if isinstance(span, dict) else place.get("position")
    match position:
        case {"line": int(line), "character": int(character)} if line >= 0 and character >= 0:
            return document.offset(types.Position(line=line, character=character))
    raise InvalidParams(f"This command takes one argument: {SHAPE}; a position is {{line, character}}")


def _text(args: tuple[Any, ...], usage: str) -> str:
    if len(args) != 1 or not isinstance(args[0], str):
        raise InvalidParams(usage)
    return args[0]


def _suggestion(ls: Session, args: tuple[Any, ...]) -> Suggestion:
    number = _text(args, "This command takes one argument: the id of a suggestion")
    suggestion = ls.suggestions.get(number)
    if suggestion is None:
        raise UserError(f"There is no suggestion {number} in this session. Run PerfOrch on the function again.")
    return suggestion
