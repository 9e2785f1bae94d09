"""Examples as an oracle: those of the docstring, and those that a user confirmed.

Read without running anything: arguments and results must be literals (or simple expressions of literals). Understood
are doctests (``>>> f(1, 2)`` and what follows, tracebacks included) and, in prose, ``f(1, 2) -> 3`` with ``->``,
``=>``, ``==``, an arrow or the word "returns". What is not unambiguous is skipped and counted.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import doctest
import fractions
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from perforch_core.evidence import Counterexample
from perforch_core.languages.interface import Case, Observation
from perforch_core.oracle.equivalence import content_digest, malformed
from perforch_core.oracle.generate import case_size
from perforch_core.oracle.judge import Factory, observe
from perforch_core.oracle.shrink import call_text, outcome_text
from perforch_core.task import UserError
from perforch_core.values import Special, Wire, encode, source_text

MAX_LITERAL = 1_000_000
"""A literal may stand for at most this many items or digits ("a" * 10**9 is not unfolded)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One call with its wanted outcome: `case.expected`, or an exception named `raises`.

    `text` is how it was written. `loose` compares as ``==`` does (1, 1.0 and True alike, dicts in any order, an
    iterator as a list of its items). `wrapped` is what the example does with the result first: "list", "tuple",
    "sorted" or "round N".
    """

    text: str
    case: Case
    raises: str | None = None
    loose: bool = False
    wrapped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What a docstring holds: `skipped` counts calls of the target that could not be read as examples."""

    found: tuple[Example, ...] = ()
    skipped: int = 0


def find_examples(docstring: str, symbol: str, *, method: bool = False) -> Examples:
    """The examples of a docstring for the function `symbol` (a dotted path; its last part is looked for).

    For a method every example is skipped: its receiver would have to be built by code.
    """
    name = symbol.rsplit(".", 1)[-1]
    found: list[Example] = []
    skipped = 0
    doctests, prose = _parted(docstring)
    variables: dict[str, Any] = {}
    for item in doctests:
        try:
            example = None if method and _mentions(item.source, name) else _from_doctest(item, name, variables)
        except _Unclear:
            example = None
            _forget(item.source, variables)
        if example is not None:
            found.append(example)
        elif _mentions(item.source, name):
            skipped += 1
    for line in prose:
        if not _mentions(line, name) or not _ARROW.search(line):
            continue
        try:
            if method:
                raise _Unclear
            found.append(_from_prose(line, name))
        except _Unclear:
            skipped += 1
    return Examples(found=tuple(_unlike(found)), skipped=skipped)


def user_example(text: str, symbol: str) -> Example:
    """An example that a user wrote: "f(1, 2) == 3", "f(1, 2) -> 3" or "f(0) raises ValueError". Raises UserError."""
    name = symbol.rsplit(".", 1)[-1]
    line = " ".join(text.split("\n")).strip()
    try:
        if raises := re.fullmatch(r"(.*\))\s+raises\s+([\w.]+)", line):
            arguments = _arguments(_call(raises[1], name), {})
            return Example(text=line, case=_case(arguments, origin="user"), raises=raises[2].rsplit(".", 1)[-1])
        example = _from_prose(line, name)
    except _Unclear:
        raise UserError(
            f"{text!r} is not an example that can be read: write it as {name}(1, 2) == 3 or {name}(0) raises "
            "ValueError, with literal arguments and results"
        ) from None
    return replace(example, case=replace(example.case, origin="user"), loose="==" in line)


def confirmed_example(symbol: str, case: Case, seen: Observation) -> Example:
    """An observed call that a user confirmed to be right. Raises ValueError for a call without an answer."""
    if seen.raised is not None:
        return Example(
            text=call_text(symbol, case), case=replace(case, origin="user"), raises=seen.raised[0].rsplit(".", 1)[-1]
        )
    if seen.dead or seen.graph is None or malformed(seen.graph) or not seen.graph["roots"]:
        raise ValueError("only a call that returned or raised can be confirmed")
    expected: Wire = {"nodes": seen.graph["nodes"], "roots": seen.graph["roots"][:1]}
    text = f"{call_text(symbol, case)} == {source_text(expected, expected['roots'][0])}"
    return Example(text=text, case=replace(case, origin="user", expected=expected))


def check(example: Example, actual: Observation) -> str | None:
    """How the outcome of the example's call differs from the wanted one, in words; None when it does not."""
    if actual.dead:
        return f"gave no answer ({actual.dead})"
    wanted = example.case.expected
    if example.raises is not None:
        if actual.raised is not None and actual.raised[0].rsplit(".", 1)[-1] == example.raises:
            return None
        return f"{outcome_text(actual)} where {example.raises} is expected"
    if actual.raised is not None or wanted is None or actual.graph is None or malformed(actual.graph):
        return f"{outcome_text(actual)} where {_wanted_text(example)} is expected"
    got: Wire = {"nodes": actual.graph["nodes"], "roots": actual.graph["roots"][:1]}
    if not got["roots"]:
        return "no result"
    return None if _agree(example, wanted, got) else f"{outcome_text(actual)} where {_wanted_text(example)} is expected"


async def failing_examples(
    driver_factory: Factory, examples: Sequence[Example], *, symbol: str, timeout: float = 5.0
) -> list[Counterexample]:
    """The examples that a version fails, as counterexamples, in order; empty when all hold. Raises BuildFailed."""
    seen = await observe(driver_factory, [example.case for example in examples], timeout=timeout)
    failed: list[Counterexample] = []
    for example, actual in zip(examples, seen, strict=True):
        if check(example, actual) is not None:
            call = call_text(symbol, example.case)
            got = outcome_text(actual)
            failed.append(
                Counterexample(call=call, expected=_wanted_text(example), actual=got, traceback=actual.traceback)
            )
    return failed


def _wanted_text(example: Example) -> str:
    wanted = example.case.expected
    if example.raises is not None or wanted is None:
        return example.raises or "nothing"
    return source_text(wanted, wanted["roots"][0])


def _agree(example: Example, wanted: Wire, got: Wire) -> bool:
    root = got["roots"][0]
    node = got["nodes"][root]
    if example.wrapped.startswith("round"):
        places = int(example.wrapped.split()[1])
        if node[0] not in ("int", "float"):
            return False
        number = float(node[1]) if node[0] == "float" else int(node[1], 0)
        got, root = encode([round(number, places)]), 0
    elif example.wrapped:
        if node[0] not in ("list", "tuple", "set", "frozenset", "iterator"):
            return False
        kind = "tuple" if example.wrapped == "tuple" else "list"
        got = {"nodes": [*got["nodes"], [kind, node[1]]], "roots": [len(got["nodes"])]}
        root = got["roots"][0]
    if example.loose:
        wanted, got = _loosened(wanted), _loosened(got)
    # By content, not by identity: a literal cannot say which of its parts are one object.
    if example.wrapped == "sorted":
        left, right = wanted["nodes"][wanted["roots"][0]][1], got["nodes"][root][1]
        return sorted(_digests(wanted, left, example.loose)) == sorted(_digests(got, right, example.loose))
    return _digests(wanted, wanted["roots"], example.loose) == _digests(got, [root], example.loose)


def _digests(wire: Wire, indices: Sequence[int], loose: bool) -> list[bytes]:
    found = [content_digest(wire, index, ordered_dicts=not loose) for index in indices]
    return [digest or b"cycle %d" % index for index, digest in zip(indices, found, strict=True)]


def _loosened(wire: Wire) -> Wire:
    """Numbers as ``==`` sees them (12 significant digits of floats), iterators as lists, no names of subclasses."""
    nodes = []
    for node in wire["nodes"]:
        tag = node[0]
        if tag == "bool":
            node = ["int", str(node[1])]
        elif tag == "float":
            value = float(f"{float(node[1]):.12g}")
            node = ["int", str(int(value))] if value.is_integer() and abs(value) < 2**53 else ["float", repr(value)]
        elif tag == "iterator":
            node = ["list", node[1]]
        elif tag in ("list", "tuple", "set", "dict", "int", "str"):
            node = node[:2]
        nodes.append(node)
    return {"nodes": nodes, "roots": wire["roots"]}


# --- reading -----------------------------------------------------------------------------------------------------


class _Unclear(Exception):
    """This text is not an example that can be read without running code."""


_ARROW = re.compile(r"->|=>|==|→|⇒|➞|➔|\breturns?\b")
_AFTER = re.compile(r"\s*(->|=>|==|→|⇒|➞|➔|returns?\b)\s*(?!=)")
_REST = re.compile(r"\s*([.,;:)\]]*\s*\Z|[.,;]?\s*(#|//|--|\(|because\b|since\b|as\b)|,\s*[\"'f])")


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}\s*\(", text) is not None


def _parted(docstring: str) -> tuple[list[doctest.Example], list[str]]:
    """Doctests and the other lines of a docstring."""
    text = textwrap.dedent(docstring.expandtabs())
    first, _, rest = docstring.expandtabs().partition("\n")
    if rest:
        text = first.strip() + "\n" + textwrap.dedent(rest)
    doctests: list[doctest.Example] = []
    prose: list[str] = []
    try:
        parts = doctest.DocTestParser().parse(text)
    except ValueError:
        parts = [text]
    for part in parts:
        if isinstance(part, doctest.Example):
            doctests.append(part)
        else:
            prose += part.splitlines()
    return doctests, prose


def _from_doctest(item: doctest.Example, name: str, variables: dict[str, Any]) -> Example | None:
    """The example that a doctest is, or None where it calls something else. Assignments go into `variables`."""
    if item.options.get(doctest.SKIP):
        raise _Unclear
    statement = _statement(item.source)
    if isinstance(statement, ast.Assign):
        _assign(statement, variables)
        return None
    if not isinstance(statement, ast.Expr) or not _mentions(item.source, name):
        _forget(item.source, variables)
        return None
    call, wrapped, equals = _unwrapped(statement.value, name)
    case = _case(_arguments(call, variables), origin="docs")
    _forget(item.source, variables)
    text = item.source.strip()
    if item.exc_msg is not None:
        return Example(text=text, case=case, raises=item.exc_msg.split(":")[0].strip().rsplit(".", 1)[-1])
    if equals is not None:
        if item.want.strip() != "True":
            raise _Unclear
        return Example(text=text, case=_expecting(case, _value(equals, {})), loose=True, wrapped=wrapped)
    want = _value(_expression(item.want), {}) if item.want.strip() else None
    return Example(text=f"{text}  # {item.want.strip() or None}", case=_expecting(case, want), wrapped=wrapped)


def _from_prose(line: str, name: str) -> Example:
    """ "f(1, 2) -> 3" somewhere in a line. Raises _Unclear."""
    line = line.replace("`", "")
    start = re.search(rf"(?<![\w.]){re.escape(name)}\s*\(", line)
    if start is None or line[: start.start()].rstrip().lower().endswith(("not", "!", "def", "if", "while")):
        raise _Unclear
    end = _closing(line, start.end() - 1)
    after = _AFTER.match(line, end)
    if after is None:
        raise _Unclear
    call = _call(line[start.start() : end], name)
    value, rest = _leading_literal(line[after.end() :])
    if not _REST.match(rest):
        raise _Unclear
    text = line[start.start() :].strip()
    return Example(text=text, case=_expecting(_case(_arguments(call, {}), origin="docs"), value), loose=True)


def _closing(text: str, opening: int) -> int:
    """Where the bracket opened at `opening` has been closed."""
    depth, quote, at = 0, "", opening
    while at < len(text):
        letter = text[at]
        if quote:
            if letter == "\\":
                at += 1
            elif letter == quote:
                quote = ""
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    raise _Unclear


def _leading_literal(text: str) -> tuple[Any, str]:
    """The longest literal that a text begins with, and the rest."""
    ends = [match.start() for match in re.finditer(r"(?=[\s.,;:#()\]])|\Z", text)]
    for end in sorted({*ends, len(text)}, reverse=True)[:200]:
        head = text[:end].strip()
        if not head or head[-1] in ".,;:#":
            continue
        try:
            node = _expression(head)
            if not isinstance(node, ast.Tuple) or head[0] == "(":  # "f(1) == 2, 'message'" is no tuple
                return _value(node, {}), text[end:]
        except _Unclear:
            continue
    raise _Unclear


def _statement(source: str) -> ast.stmt:
    try:
        body = ast.parse(source.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _Unclear from None
    if len(body) != 1:
        raise _Unclear
    return body[0]


def _expression(source: str) -> ast.expr:
    statement = _statement(source)
    if not isinstance(statement, ast.Expr):
        raise _Unclear
    return statement.value


def _call(source: str, name: str) -> ast.Call:
    node = _expression(source)
    if not _is_call(node, name):
        raise _Unclear
    assert isinstance(node, ast.Call)
    return node


def _is_call(node: ast.expr, name: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute):  # module.f(…), Class.f(…), but not Class(…).f(…)
        return function.attr == name and isinstance(function.value, (ast.Name, ast.Attribute))
    return isinstance(function, ast.Name) and function.id == name


def _unwrapped(node: ast.expr, name: str) -> tuple[ast.Call, str, ast.expr | None]:
    """(the call, what is done with its result, what it is compared with)."""
    equals: ast.expr | None = None
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.Is)):
        equals = node.comparators[0]
        node = node.left
    wrapped = ""
    match node:
        case ast.Call(func=ast.Name(id="list" | "tuple" | "sorted" as around), args=[inner], keywords=[]) if (
            around != name
        ):
            node, wrapped = inner, around
        case ast.Call(func=ast.Name(id="round"), args=[inner, places], keywords=[]) if name != "round":
            node, wrapped = inner, f"round {_integer(_value(places, {}))}"
    if not _is_call(node, name):
        raise _Unclear
    assert isinstance(node, ast.Call)
    return node, wrapped, equals


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > 100:
        raise _Unclear
    return value


def _assign(statement: ast.Assign, variables: dict[str, Any]) -> None:
    target = statement.targets[0]
    if len(statement.targets) != 1 or not isinstance(target, ast.Name):
        raise _Unclear
    variables.pop(target.id, None)
    variables[target.id] = _value(statement.value, variables)


def _forget(source: str, variables: dict[str, Any]) -> None:
    """Variables that code has seen may have been changed by it."""
    for name in [n for n, value in variables.items() if isinstance(value, (list, dict, set, bytearray))]:
        if re.search(rf"\b{re.escape(name)}\b", source):
            del variables[name]


def _arguments(call: ast.Call, variables: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(k.arg is None for k in call.keywords):
        raise _Unclear
    positional = [_value(argument, variables) for argument in call.args]
    return positional, {k.arg: _value(k.value, variables) for k in call.keywords if k.arg is not None}


def _case(arguments: tuple[list[Any], dict[str, Any]], *, origin: str) -> Case:
    positional, named = arguments
    wire = _encoded([*positional, *named.values()])
    return Case(arguments=wire, keywords=tuple(named), origin=origin, size=case_size(wire))


def _expecting(case: Case, value: Any) -> Case:
    return replace(case, expected=_encoded([value]))


def _encoded(values: list[Any]) -> Wire:
    try:
        return encode(values)
    except TypeError:
        raise _Unclear from None


def _unlike(examples: Sequence[Example]) -> list[Example]:
    found: dict[str, Example] = {}
    for example in examples:
        found.setdefault(repr((example.case.arguments, example.case.keywords)), example)
    return list(found.values())


# --- literals ----------------------------------------------------------------------------------------------------

_NAMED = {"inf": float("inf"), "nan": float("nan"), "true": True, "false": False}


def _value(node: ast.expr, variables: dict[str, Any]) -> Any:
    """The value of a literal or a simple expression of literals. Raises _Unclear."""
    try:
        return _evaluated(node, variables)
    except (TypeError, ValueError, ArithmeticError, RecursionError, decimal.DecimalException):
        raise _Unclear from None


def _evaluated(node: ast.expr, variables: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.Name(id=name) if name in variables:
            return variables[name]
        case ast.Name(id=name) if name in _NAMED:
            return _NAMED[name]
        case ast.List(elts=items):
            return [_evaluated(item, variables) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_evaluated(item, variables) for item in items)
        case ast.Set(elts=items):
            return {_evaluated(item, variables) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                _evaluated(key, variables): _evaluated(value, variables)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.UnaryOp(op=op, operand=operand):
            return _signed(op, _evaluated(operand, variables))
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(_evaluated(left, variables), op, _evaluated(right, variables))
        case ast.Call(func=function, args=arguments, keywords=[]):
            return _built(ast.unparse(function), [_evaluated(argument, variables) for argument in arguments])
    raise _Unclear


def _signed(op: ast.unaryop, value: Any) -> Any:
    if isinstance(value, (int, float, complex)) and isinstance(op, (ast.USub, ast.UAdd)):
        return -value if isinstance(op, ast.USub) else +value
    raise _Unclear


def _combined(left: Any, op: ast.operator, right: Any) -> Any:
    numbers = isinstance(left, (int, float, complex)) and isinstance(right, (int, float, complex))
    if numbers and isinstance(op, ast.Pow):
        if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(0, right) > MAX_LITERAL:
            raise _Unclear
        return left**right
    if numbers and isinstance(op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        operate = {ast.Add: "__add__", ast.Sub: "__sub__", ast.Mult: "__mul__", ast.Div: "__truediv__"}[type(op)]
        result = getattr(left, operate)(right)
        return getattr(right, operate.replace("__", "__r", 1))(left) if result is NotImplemented else result
    if isinstance(op, ast.Mult) and isinstance(left, (list, str, tuple)) and isinstance(right, int):
        if len(left) * right > MAX_LITERAL:
            raise _Unclear
        return left * right
    if isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, (list, str, tuple)):
        return left + right
    raise _Unclear


def _built(name: str, arguments: list[Any]) -> Any:
    """A call of a well-known type with literal arguments."""
    plain = name.rsplit(".", 1)[-1]
    if plain in ("set", "frozenset", "list", "tuple", "dict") and len(arguments) <= 1:
        kind = {"set": set, "frozenset": frozenset, "list": list, "tuple": tuple, "dict": dict}[plain]
        return kind(_iterated(arguments[0])) if arguments else kind()
    match plain, arguments:
        case ("float", [str() | int() | float() as value]):
            return float(value)
        case ("complex", [int() | float() as real, int() | float() as imaginary]):
            return complex(real, imaginary)
        case ("bytearray", [bytes() as value]):
            return bytearray(value)
        case ("Decimal", [str() | int() as value]):
            return Special("decimal.Decimal", str(decimal.Decimal(value)))
        case ("Fraction", [int() as top, int() as bottom]):
            return Special("fractions.Fraction", str(fractions.Fraction(top, bottom)))
        case ("Fraction", [str() as text]) if re.fullmatch(r"-?\d{1,50}(/\d{1,50})?", text):
            return Special("fractions.Fraction", str(fractions.Fraction(text)))
        case ("date" | "datetime", [int(), int(), int(), *_]) if all(type(a) is int for a in arguments):
            made = datetime.date(*arguments) if plain == "date" else datetime.datetime(*arguments)
            return Special(f"datetime.{plain}", made.isoformat())
        case ("range", [int(), *_]) if len(arguments) <= 3 and all(type(a) is int for a in arguments):
            return Special("range", repr(range(*arguments)))
    raise _Unclear


def _iterated(value: Any) -> Any:
    if isinstance(value, Special) and value.type == "range":
        numbers = range(*(int(part) for part in value.text[6:-1].split(",")))
        if len(numbers) > MAX_LITERAL:
            raise _Unclear
        return numbers
    if isinstance(value, (list, tuple, set, frozenset, dict, str)):
        return value
    raise _Unclear
