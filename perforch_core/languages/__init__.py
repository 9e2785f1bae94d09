"""The languages: which one a file is in, and where its functions are."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from perforch_core.languages import python
from perforch_core.languages.interface import Function
from perforch_core.languages.python_project import find_root
from perforch_core.task import Target, UserError

LANGUAGES = {python.NAME: python}


def language_of(path: Path) -> str:
    """The language of a file by its ending. Raises UserError that names the endings known."""
    for name, language in LANGUAGES.items():
        if path.suffix in language.EXTENSIONS:
            return name
    known = ", ".join(e for language in LANGUAGES.values() for e in language.EXTENSIONS)
    raise UserError(f"{path.name}: PerfOrch does not know files that end in {path.suffix!r}; it knows {known}")


def find_functions(text: str, language: str) -> list[Function]:
    """Every function and method of a file in the order of their starts."""
    return LANGUAGES[language].find_functions(text)


def read_source(path: Path) -> str:
    """A source file's text with its newlines untouched. Raises UserError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: this is a folder; name a file, as in {path / 'module.py'}::function") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def find_target(path: Path, text: str, *, symbol: str | None = None, offset: int | None = None) -> Target:
    """The target named by `symbol`, or the innermost function around `offset` (code points).

    A symbol may be given by its last part alone where that is unambiguous, or with ":LINE" behind it to tell apart
    several of the same name. Raises UserError, with the choices.
    """
    path = path.resolve()
    language = language_of(path)
    problem = LANGUAGES[language].syntax_problem(text)
    if problem:
        raise UserError(f"{path.name} does not parse: {problem}. Mend that first")
    functions = find_functions(text, language)
    named = symbol is not None
    function = _by_name(path, functions, symbol or "") if named else _by_offset(path, functions, offset or 0)
    return Target(
        path=path,
        symbol=function.symbol,
        language=language,
        root=find_root(path),
        text=text,
        start=function.start,
        end=function.end,
    )


def _by_name(path: Path, functions: list[Function], symbol: str) -> Function:
    name, _, line = symbol.partition(":")
    found = [f for f in functions if f.symbol == name]
    if not found:
        found = [f for f in functions if f.symbol.endswith("." + name)]
    if line:
        found = [f for f in found if str(f.line) == line]
    if len(found) == 1:
        return found[0]
    if found:
        choices = tuple(f"{f.symbol}:{f.line}" for f in found)
        raise UserError(
            f"{path.name} has {len(found)} functions named {name}: choose {_either(choices)}", choices=choices
        )
    names = [f.symbol for f in functions]
    if not names:
        raise UserError(f"{path.name} has no functions")
    near = tuple(difflib.get_close_matches(name, names, n=5, cutoff=0.5)) or tuple(names[:12])
    more = f" (and {len(names) - len(near)} more)" if len(names) > len(near) else ""
    raise UserError(f"{path.name} has no function {symbol!r}; it has {', '.join(near)}{more}", choices=near)


def _either(choices: tuple[str, ...]) -> str:
    return ", ".join(choices[:-1]) + " or " + choices[-1]


def _by_offset(path: Path, functions: list[Function], offset: int) -> Function:
    around = [f for f in functions if f.start <= offset <= f.end]
    if not around:
        raise UserError(f"the cursor is not in a function of {path.name}; put it inside the function you mean")
    return max(around, key=lambda f: f.start)


def function_of(target: Target) -> Function:
    """The Function that a target is, found again in its own text."""
    for function in find_functions(target.text, target.language):
        if (function.start, function.end) == (target.start, target.end):
            return function
    raise UserError(f"{target.symbol} is no longer where it was in {target.path.name}")


def new_state(target: Target, text: str) -> list[str]:
    """What a new version of the target's file keeps between calls that the old one did not, in words."""
    return LANGUAGES[target.language].new_state(target.text, text)


def named_function(text: str, target: Target) -> Function | None:
    """The function with the target's symbol in another version of its file, or None where it is not just one.

    Of several with one name, the one at the same place among them.
    """
    before = [f for f in find_functions(target.text, target.language) if f.symbol == target.symbol]
    after = [f for f in find_functions(text, target.language) if f.symbol == target.symbol]
    if len(before) != len(after):
        return None
    return next((a for b, a in zip(before, after, strict=True) if b.start == target.start), None)


def retarget(target: Target, text: str) -> Target:
    """The same target in another version of its file. Raises UserError when it is no longer there."""
    function = named_function(text, target)
    if function is None:
        raise UserError(f"{target.symbol} is not in the new version of {target.path.name}")
    return replace(target, text=text, start=function.start, end=function.end)
