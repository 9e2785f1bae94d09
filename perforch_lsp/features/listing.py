"""perforch/jobs and perforch/suggestions: what there is, for clients that show it."""

from __future__ import annotations

from typing import Any

from perforch_lsp.jobs import suggestion_json
from perforch_lsp.session import Session


def jobs(ls: Session, params: Any) -> dict[str, Any]:
    """All jobs of the session, the newest last."""
    return {"jobs": [job.to_json() for job in ls.jobs.all()]}


def suggestions(ls: Session, params: Any) -> dict[str, Any]:
    """All suggestions, or with {"uri"} those for one document."""
    uri = params.get("uri") if isinstance(params, dict) else None
    return {"suggestions": [suggestion_json(ls, s) for s in ls.suggestions.all(uri)]}
