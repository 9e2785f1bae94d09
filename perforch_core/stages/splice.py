"""Putting an answer into the target's file: only the target changes, plus what it newly needs around it.

Everything is computed on a copy with "\\n" line ends and mapped back at the end, so that untouched text stays
untouched to the byte. See `splice_answer` for finding and fitting the function, `splice_around` for imports and
helpers.
"""

from __future__ import annotations

import ast
import bisect
import re
import warnings
from dataclasses import dataclass

from perforch_core.languages.python import find_functions
from perforch_core.stages.splice_answer import Frame, Misfit, fitted, found_in, parsed, unit_of
from perforch_core.stages.splice_around import Insert, surroundings
from perforch_core.task import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """The file with the answer in place, or why it cannot be put there (one sentence, for the model or a person).

    `unchanged` tells that the new file does exactly what the old one did: nothing but comments or layout differ.
    """

    text: str | None = None
    problem: str = ""
    unchanged: bool = False


def splice(target: Target, answer: str) -> Splice:
    """Replace the target by what `answer` says of it. Never raises for anything an answer may hold.

    The answer may be the function alone, its body, a lambda assigned to its name, a class around the method, or a
    whole file; of the latter only the target, new helpers that it uses and new imports are taken. Decorators,
    annotations and the docstring of the original stay where the answer dropped them.
    """
    if target.language != "python":
        return Splice(problem=f"Placing answers in {target.language} files is not supported yet.")
    try:
        frame, map_back = _frame(target)
        found = found_in(answer, frame)
        function = fitted(found, frame)
        inserts = [Insert(frame.start, frame.end, function), *surroundings(found, function, frame)]
        after = map_back(inserts)
        _check(target, frame, after)
    except Misfit as misfit:
        return Splice(problem=str(misfit))
    except RecursionError:
        return Splice(problem="The answer is nested too deeply.")
    return Splice(text=after, unchanged=_same(target.text, after))


class _MapBack:
    """Applies edits made in the copy with "\\n" line ends to the original text."""

    def __init__(self, text: str) -> None:
        self._text = text
        pairs = [match.start() for match in re.finditer("\r\n", text)]
        self._original_pairs = pairs
        self._pairs = [place - number for number, place in enumerate(pairs)]
        self._newline = "\r\n" if 2 * len(pairs) > text.count("\n") else "\n"

    def to_copy(self, place: int) -> int:
        return place - bisect.bisect_left(self._original_pairs, place)

    def __call__(self, inserts: list[Insert]) -> str:
        parts: list[str] = []
        done = 0
        for insert in sorted(inserts, key=lambda insert: (insert.start, insert.end, insert.order)):
            start, end = (place + bisect.bisect_left(self._pairs, place) for place in (insert.start, insert.end))
            parts += [self._text[done:start], insert.text.replace("\n", self._newline)]
            done = end
        return "".join([*parts, self._text[done:]])


def _frame(target: Target) -> tuple[Frame, _MapBack]:
    """What is known of the target and its file. Raises Misfit if the target is not a function there."""
    map_back = _MapBack(target.text)
    text = target.text.replace("\r\n", "\n").replace("\r", "\n")
    start, end = map_back.to_copy(target.start), map_back.to_copy(target.end)
    while start < end and text[start] in " \t":
        start += 1
    while end > start and text[end - 1] in " \t\n":
        end -= 1
    functions = find_functions(text)
    function = next((item for item in functions if item.start == start), None)
    function = function or next((item for item in functions if item.symbol == target.symbol), None)
    if function is None:
        raise Misfit(f"{target.symbol} is not to be found in the file any more.")
    # A comment at the end of the function's last line belongs to what is replaced.
    rest = re.compile(r"[ \t]*#[^\n]*").match(text, end)
    end = rest.end() if rest else end
    line_start = text.rfind("\n", 0, start) + 1
    indent = text[line_start:start].lstrip("\ufeff")
    if indent.strip():
        raise Misfit(f"{target.symbol} does not start on a line of its own.")
    tree = parsed(text)
    stub = f"def {function.symbol.rsplit('.', 1)[-1]}(): pass" + "\n" * text.count("\n", start, end)
    frame = Frame(
        text=text,
        name=target.symbol.rsplit(".", 1)[-1],
        symbol=target.symbol,
        module=target.path.stem,
        function=function,
        start=start,
        end=end,
        indent=indent,
        unit=unit_of(text, function, indent),
        parses=tree is not None,
        # A file broken only inside the target still tells what else it holds; the lines stay where they are.
        tree=tree or parsed(text[:start] + stub + text[end:]),
    )
    return frame, map_back


def _check(target: Target, frame: Frame, after: str) -> None:
    """Raise Misfit unless the new file is at least as whole as the old one."""
    if frame.tree is None:
        return
    if (problem := _compiles(after)) and (not frame.parses or not _compiles(target.text)):
        raise Misfit(f"With the answer in place the file does not compile: {problem}.")


def _compiles(text: str) -> str:
    """What the compiler says of the file, "" if nothing. Nothing is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(text.removeprefix("\ufeff"), "answer", "exec", dont_inherit=True)
        except SyntaxError as error:
            return f"line {error.lineno}: {error.msg}"
        except (ValueError, RecursionError, MemoryError) as error:
            return str(error) or type(error).__name__
    return ""


def _same(before: str, after: str) -> bool:
    if before == after:
        return True
    trees = parsed(before), parsed(after)
    return trees[0] is not None and trees[1] is not None and ast.dump(trees[0]) == ast.dump(trees[1])
