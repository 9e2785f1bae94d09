"""What the rest of the core asks of a model: text models answer prompts, rewrite models return whole files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from perforch_core.task import Stage, Target, Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A model's answer. `finish` is the wire format's reason ("stop", "length", "content_filter", ...)."""

    text: str
    finish: str
    usage: Usage


class ModelError(Exception):
    """A request failed for good (retries spent): costs one attempt, never the task. The message is for the user.

    `usage` is what it took all the same: seconds always, tokens and cost where text had already come.
    """

    def __init__(self, message: str, *, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage or Usage()


class TextModel(Protocol):
    """A language model. `name` is the user's name for it."""

    name: str

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        timeout: float,
        max_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Ask and stream. Raises ModelError; cancellation closes the connection at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What is known of a target, for models that rewrite without a prompt.

    `suspicion` maps 1-based line numbers of the file to how much the failing tests point at them (0..1);
    `hot_lines` maps them to their share of the run time (0..1).
    """

    suspicion: Mapping[int, float] = field(default_factory=dict)
    hot_lines: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """A whole new file text, made by `rule`; `title` in a few words, `why` in one sentence."""

    text: str
    rule: str
    title: str
    why: str


class RewriteModel(Protocol):
    """A model without a prompt: the built-in rules, the repairer, a recording."""

    name: str
    stages: frozenset[Stage]
    languages: frozenset[str]

    def propose(self, target: Target, hints: Hints) -> Iterator[Rewrite]:
        """Rewrites, most promising first, lazily. Pure: reads no file, runs nothing of the target."""
