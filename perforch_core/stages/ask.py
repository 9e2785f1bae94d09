"""Ask a text model for one candidate: prompt in, candidate out, or a reason in words why there is none."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from perforch_core.models.answers import code_blocks
from perforch_core.models.interface import Completion, Message, ModelError, TextModel
from perforch_core.stages.splice import splice
from perforch_core.task import Candidate, Target, Usage

THINKING = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
"""What some models say to themselves first: nothing for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCandidate:
    """A useless answer, or a request that failed (`failed_request`); costs one attempt."""

    model: str
    reason: str
    failed_request: bool = False
    usage: Usage = field(default_factory=Usage)


async def ask(
    model: TextModel,
    target: Target,
    messages: Sequence[Message],
    *,
    timeout: float,
    on_text: Callable[[str], None] | None = None,
) -> Candidate | NoCandidate:
    """One request to one model. `timeout` in seconds."""
    try:
        completion = await model.complete(messages, timeout=timeout, on_text=on_text)
    except ModelError as error:
        return NoCandidate(model=model.name, reason=str(error), failed_request=True, usage=error.usage)
    return read_answer(model.name, target, completion)


def read_answer(model: str, target: Target, completion: Completion) -> Candidate | NoCandidate:
    """The first code block of an answer that fits the target, as a candidate."""
    problem = "the answer holds no code"
    if completion.finish == "length":
        problem = "the answer was cut off by the model's length limit before any code was complete"
    for block in code_blocks(completion.text, target.language, symbol=target.symbol):
        spliced = splice(target, block)
        if spliced.text is None:
            problem = spliced.problem or problem
        elif spliced.unchanged:
            problem = "the answer changes nothing"
        else:
            return Candidate(
                text=spliced.text, model=model, why=first_sentence(completion.text), usage=completion.usage
            )
    return NoCandidate(model=model, reason=problem, usage=completion.usage)


def first_sentence(text: str) -> str:
    """The prose before the first fence, cut to a line: why the model thinks its answer is good."""
    lines = THINKING.sub("", text).split("```", 1)[0].strip().splitlines()
    return textwrap.shorten(lines[0], 160, placeholder=" …") if lines else ""
