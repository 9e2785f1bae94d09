"""The suggestions of this session and what has become of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perforch_core.suggestion import Edit


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A candidate that passed (or, `proven` false, one that nothing speaks against).

    `base` is the whole text of the request; `start` and `end` the target's span in it, `edits` apply to it.
    `state` is "ready", "applied" or "rejected". `result` is the engine's answer.
    """

    id: str
    job: str
    uri: str
    stage: str
    symbol: str
    title: str
    proven: bool
    base: str
    start: int
    end: int
    edits: tuple[Edit, ...]
    result: dict[str, Any]
    state: str = "ready"

    @property
    def code(self) -> str:
        """The target's text at the request."""
        return self.base[self.start : self.end]

    @property
    def new_code(self) -> str:
        """The target's text with the suggestion in it."""
        before = sum(len(e.new) - len(e.old) for e in self.edits if e.end <= self.start and e.start < self.start)
        inside = sum(len(e.new) - len(e.old) for e in self.edits if self.start <= e.start <= self.end)
        return self.after[self.start + before : self.end + before + inside]

    @property
    def rule(self) -> str | None:
        """The built-in rule that made it, if one did."""
        rules = [a["rule"] for a in self.result["tried"] if a["model"] == self.result["model"]]
        return rules[-1] if rules else None

    @property
    def after(self) -> str:
        """The whole text of the request with the suggestion in it."""
        return apply(self.base, self.edits)


def from_result(job: str, uri: str, base: str, result: dict[str, Any]) -> Suggestion:
    """A suggestion from the engine's answer on a request whose text was `base`."""
    target = result["target"]
    edits = tuple(
        Edit(path=Path(e["path"]), start=e["start"], end=e["end"], old=e["old"], new=e["new"]) for e in result["edit"]
    )
    return Suggestion(
        id=result["id"],
        job=job,
        uri=uri,
        stage=result["stage"],
        symbol=target["symbol"],
        title=result["title"] or "builds, unproven",
        proven=result["status"] == "suggested",
        base=base,
        start=target["start"],
        end=target["end"],
        edits=edits,
        result=result,
    )


def apply(text: str, edits: tuple[Edit, ...]) -> str:
    """`text` with edits (ascending, not overlapping) made."""
    for edit in reversed(edits):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text


class Suggestions:
    """All suggestions by id, the newest last."""

    def __init__(self) -> None:
        self._all: dict[str, Suggestion] = {}

    def add(self, suggestion: Suggestion) -> None:
        """Add one; it replaces those still waiting for the same function and stage."""
        for other in list(self._all.values()):
            if (other.uri, other.symbol, other.stage, other.state) == (
                suggestion.uri,
                suggestion.symbol,
                suggestion.stage,
                "ready",
            ):
                del self._all[other.id]
        self._all[suggestion.id] = suggestion

    def get(self, number: str) -> Suggestion | None:
        """The suggestion with this id."""
        return self._all.get(number)

    def set_state(self, number: str, state: str) -> Suggestion:
        """Change what has become of one. Raises KeyError."""
        self._all[number] = replace(self._all[number], state=state)
        return self._all[number]

    def all(self, uri: str | None = None) -> list[Suggestion]:
        """All suggestions, or those for one document."""
        return [s for s in self._all.values() if uri is None or s.uri == uri]

    def open(self, uri: str) -> list[Suggestion]:
        """Those for one document that were not rejected. Whether one fits the text as it is, `Session.place` tells;
        one that was applied and then undone fits again."""
        return [s for s in self.all(uri) if s.state != "rejected"]
