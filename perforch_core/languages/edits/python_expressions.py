"""Small edits of Python expressions: one function per family, each takes one part and yields edits of it."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from perforch_core.languages.edits import SmallEdit
from perforch_core.languages.edits.python_kinds import NUMBERS, SIZED, Kinds, annotated, fit, kind, kinds_of_names
from perforch_core.languages.edits.python_source import Part, Source, visible_names

_COMPARE_TOKEN = re.compile(r"not\s+in\b|is\s+not\b|[<>=!]=|<|>|\bin\b|\bis\b")
_COMPARE = {
    "<": {"compare-boundary": ["<="], "compare-negate": [">="], "compare-flip": [">"], "compare": ["==", "!="]},
    "<=": {"compare-boundary": ["<"], "compare-negate": [">"], "compare-flip": [">="], "compare": ["==", "!="]},
    ">": {"compare-boundary": [">="], "compare-negate": ["<="], "compare-flip": ["<"], "compare": ["==", "!="]},
    ">=": {"compare-boundary": [">"], "compare-negate": ["<"], "compare-flip": ["<="], "compare": ["==", "!="]},
    "==": {"compare-negate": ["!="], "compare": ["<=", ">=", "<", ">"], "compare-membership": ["in"]},
    "!=": {"compare-negate": ["=="], "compare": ["<", ">", "<=", ">="], "compare-membership": ["not in"]},
    "in": {"compare-negate": ["not in"], "compare-membership": ["=="]},
    "not in": {"compare-negate": ["in"], "compare-membership": ["!="]},
    "is": {"compare-negate": ["is not"], "compare-membership": ["=="]},
    "is not": {"compare-negate": ["is"], "compare-membership": ["!="]},
}
_BINARY_TOKEN = re.compile(r"\*\*|//|<<|>>|[-+*/%&|^@]")
_BINARY = {
    "+": ["-", "*"],
    "-": ["+", "//", "%", "/"],
    "*": ["/", "+", "**", "//"],
    "/": ["//", "*", "%"],
    "//": ["/", "%", "*"],
    "%": ["//", "/", "*", "-"],
    "**": ["*", "+"],
    "&": ["|", "^"],
    "|": ["&", "^"],
    "^": ["|", "&"],
    "<<": [">>"],
    ">>": ["<<"],
}
_TEXT_BINARY = {"+": [], "*": ["+"], "%": ["+"]}
_LOGIC_TOKEN = re.compile(r"\band\b|\bor\b")
_FUNCTIONS = [
    ("min", "max"), ("any", "all"), ("sum", "max", "min", "len"), ("int", "float", "round"), ("str", "repr"),
    ("sorted", "reversed", "list"), ("list", "set"), ("ord", "int"), ("chr", "str"), ("bin", "hex", "oct"),
    ("floor", "ceil", "round"), ("set", "sorted"),
]  # fmt: skip
_METHODS = [
    ("append", "add", "extend"), ("isupper", "islower"), ("isalpha", "isdigit", "isalnum", "isspace"),
    ("upper", "lower", "swapcase", "capitalize", "title"), ("startswith", "endswith"), ("find", "rfind", "index"),
    ("strip", "lstrip", "rstrip"), ("split", "rsplit", "splitlines"), ("keys", "values", "items"),
    ("append", "appendleft"), ("pop", "popleft"), ("remove", "discard"), ("union", "intersection", "difference"),
    ("ljust", "rjust"),
]  # fmt: skip
_WRAPPERS = {
    "abs": NUMBERS, "int": NUMBERS | {"str"}, "str": NUMBERS, "len": SIZED, "sum": {"list", "tuple", "set"},
    "max": {"list", "tuple", "set"}, "min": {"list", "tuple", "set"}, "sorted": SIZED, "set": {"list", "str", "tuple"},
    "list": {"str", "tuple", "set"}, "round": {"float"}, "bool": NUMBERS | SIZED, "float": NUMBERS | {"str"},
    "ord": {"str"}, "chr": {"int"}, "bin": {"int"}, "reversed": {"list", "tuple"},
}  # fmt: skip
_METHOD_WRAPPERS = ("lower", "upper", "strip")
_PARTNERS = {"(": ")[{", ")": "(]}", "[": "](", "]": "[)", "{": "}(", "}": "{)", "<": ">", ">": "<", "+": "-", "-": "+"}
_DONOR_LENGTH = 32


@dataclass(slots=True)
class Context:
    """What the families need to know of the whole function."""

    source: Source
    chosen: list[Part]
    names: dict[str, tuple[int, int]]
    kinds: Kinds
    constants: list[ast.Constant]
    donors: list[tuple[str, str, tuple[str, ...]]]
    attributes: list[str]
    docstring: str

    def edit(self, start: int, end: int, new: str, operator: str, node: ast.AST) -> SmallEdit:
        """An edit on the node's line."""
        return SmallEdit(start, end, new, operator, getattr(node, "lineno", self.source.function.lineno))

    def replace(self, part: Part, new: str, operator: str) -> SmallEdit:
        """An edit that replaces the whole part."""
        return self.edit(part.start, part.end, new, operator, part.node)

    def standing(self, node: ast.AST, part: Part) -> str:
        """The node's text as it may stand where the part is: in parentheses only where they are needed."""
        tight = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Attribute, ast.Subscript, ast.Starred, ast.Await)
        loose = (ast.Tuple, ast.GeneratorExp, ast.Lambda, ast.NamedExpr, ast.Yield, ast.YieldFrom)
        bare = not isinstance(part.parent, tight) or (isinstance(part.parent, ast.Subscript) and part.field == "slice")
        return self.source.code(node) if bare and not isinstance(node, loose) else self.source.atom(node)

    def visible(self, name: str, part: Part) -> bool:
        """Whether a local name can be used where the part is."""
        start, end = self.names[name]
        return start <= part.start and part.end <= end


def context(source: Source, *, lines: frozenset[int] | None = None) -> Context:
    """Collect names, kinds, constants, donor expressions and words of the docstring. `lines` limits what is edited."""
    names, kinds = visible_names(source), kinds_of_names(source)
    constants = {repr(p.node.value): p.node for p in source.parts if isinstance(p.node, ast.Constant)}
    attributes = {
        p.node.attr
        for p in source.parts
        if isinstance(p.node, ast.Attribute) and isinstance(p.node.value, ast.Name) and p.node.value.id == "self"
    }
    return Context(
        source=source,
        chosen=[p for p in source.parts if lines is None or getattr(p.node, "lineno", 0) in lines | {0}],
        names=names,
        kinds=kinds,
        constants=list(constants.values()),
        donors=_donors(source, names, kinds),
        attributes=sorted(attributes),
        docstring=ast.get_docstring(source.function, clean=False) or "",
    )


def expression_edits(ctx: Context, families: Sequence[Family]) -> Iterator[SmallEdit]:
    """Every small edit of an expression, family by family for each part, in the order of the text."""
    for part in ctx.chosen:
        for family in families:
            yield from family(part, ctx)


def comparisons(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another comparison operator: the boundary, the negation, the other direction."""
    if not isinstance(part.node, ast.Compare):
        return
    operands = [part.node.left, *part.node.comparators]
    for left, right in itertools.pairwise(operands):
        place = _between(ctx, left, right, _COMPARE_TOKEN)
        if place is None:
            continue
        old = " ".join(ctx.source.text[place[0] : place[1]].split())
        for operator, news in _COMPARE.get(old, {}).items():
            for new in news:
                if new in ("in", "not in") and kind(right, ctx.kinds) in NUMBERS:
                    continue
                yield ctx.edit(*place, new, operator, left)


def arithmetic(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another arithmetic or bit operator, operands swapped, or one operand alone."""
    if not isinstance(part.node, ast.BinOp):
        return
    left, right = part.node.left, part.node.right
    place = _between(ctx, left, right, _BINARY_TOKEN)
    if place is None:
        return
    old = ctx.source.text[place[0] : place[1]]
    textual = {kind(left, ctx.kinds), kind(right, ctx.kinds)} & {"str", "list", "tuple"}
    for new in (_TEXT_BINARY if textual else _BINARY).get(old, ()):
        yield ctx.edit(*place, new, "arithmetic", right)
    if old not in ("*", "&", "|", "^") and (old != "+" or textual):
        swapped = f"{ctx.source.atom(right)} {old} {ctx.source.atom(left)}"
        yield ctx.replace(part, swapped, "operands-swapped")
    text = ctx.source.text
    for kept in (text[part.start : place[0]].rstrip(), text[place[1] : part.end].lstrip()):
        yield ctx.replace(part, kept, "operand-removed")
    yield from _middle_operand_removed(part, left, place, ctx)
    if old == "%" and not textual:
        yield ctx.replace(part, f"{ctx.source.code(part.node)} == 0", "condition-added")


def augmented(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """`+=` becomes `-=`, `=` ...; `x = e` becomes `x += e`."""
    node = part.node
    if isinstance(node, ast.AugAssign):
        place = _between(ctx, node.target, node.value, re.compile(r"(\*\*|//|<<|>>|[-+*/%&|^@])="))
        if place is None:
            return
        old = ctx.source.text[place[0] : place[1] - 1]
        textual = {kind(node.target, ctx.kinds), kind(node.value, ctx.kinds)} & {"str", "list", "tuple"}
        for new in (_TEXT_BINARY if textual else _BINARY).get(old, ()):
            yield ctx.edit(*place, f"{new}=", "arithmetic", node)
        if old in ("-", "+", "*") and not textual:
            yield ctx.edit(*place, "//=" if old != "+" else "*=", "arithmetic", node)
        yield ctx.edit(*place, "=", "assignment", node)
        if textual and old == "+":
            flipped = f"= {ctx.source.atom(node.value)} + {ctx.source.code(node.target)}"
            yield ctx.edit(place[0], part.end, flipped, "operands-swapped", node)
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        place = _between(ctx, node.targets[0], node.value, re.compile(r"="))
        if place and not isinstance(node.value, ast.Constant):
            yield ctx.edit(*place, "+=", "assignment", node)


def logic(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """`and` <-> `or`, one clause left out."""
    if not isinstance(part.node, ast.BoolOp):
        return
    values = part.node.values
    for left, right in itertools.pairwise(values):
        place = _between(ctx, left, right, _LOGIC_TOKEN)
        if place is None:
            continue
        yield ctx.edit(*place, "or" if isinstance(part.node.op, ast.And) else "and", "logic", left)
    if len(values) > 2:
        places = [_between(ctx, a, b, _LOGIC_TOKEN) for a, b in itertools.pairwise(values)]
        if all(places):
            word = "or" if isinstance(part.node.op, ast.And) else "and"
            start, end = places[0][0], places[-1][1]  # type: ignore[index]
            middle = re.sub(_LOGIC_TOKEN, word, ctx.source.text[start:end])
            yield ctx.edit(start, end, middle, "logic", values[0])
    for dropped in values:
        word = " and " if isinstance(part.node.op, ast.And) else " or "
        loose = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)
        rest = [ctx.source.atom(v) if isinstance(v, loose) else ctx.source.code(v) for v in values if v != dropped]
        yield ctx.replace(part, word.join(rest), "clause-removed")


def negations(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """`not` and `-` removed or added where a condition or a number stands."""
    node = part.node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield ctx.replace(part, ctx.standing(node.operand, part), "negation-removed")
        return
    if not isinstance(node, ast.expr) or _held(part):
        return
    code = ctx.source.code(node)
    condition = part.field in ("test", "ifs") or (part.field == "values" and isinstance(part.parent, ast.BoolOp))
    if (condition and not isinstance(node, ast.Compare)) or (
        isinstance(part.parent, ast.Return) and kind(node, ctx.kinds) == "bool" and not isinstance(node, ast.Constant)
    ):
        yield ctx.replace(part, f"not ({code})", "negation")
    numeric = kind(node, ctx.kinds) in NUMBERS | {""} and not isinstance(node, (ast.Tuple, ast.Constant, ast.List))
    if numeric and isinstance(part.parent, (ast.Return, ast.Assign)):
        yield ctx.replace(part, f"-{ctx.source.atom(node)}", "negation-number")


def numbers(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another number: one more, one less, 0, 1, the other sign, another number of the function or its docstring."""
    node = part.node
    if not isinstance(node, ast.Constant) or not _is_number(node.value) or _in_fstring(part):
        return
    value = node.value
    seen = {value}
    for new, operator in _other_numbers(value, ctx):
        if new not in seen or (new == 0 and type(new) is not type(value)):
            seen.add(new)
            yield ctx.replace(part, repr(new), operator)


def texts(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another string: empty, a space, other case, one character less, a bracket's partner, a word of the docstring."""
    node = part.node
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, bytes)) or _in_fstring(part):
        return
    if not re.fullmatch(r"[rRbBuU]{0,2}(['\"])[^\r\n]*\1", ctx.source.code(node)):
        return
    if isinstance(node.value, bytes):
        yield ctx.replace(part, "b''" if node.value else "b' '", "text")
        return
    seen = {node.value}
    for new, operator in _other_texts(node.value, ctx):
        if new not in seen:
            seen.add(new)
            yield ctx.replace(part, repr(new), operator)


def constants(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """True <-> False, None -> a plausible empty value, empty displays."""
    node = part.node
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ctx.replace(part, str(not node.value), "boolean")
    elif isinstance(node, ast.Constant) and node.value is None and not _held(part):
        for new in ("0", "False", "True", '""', "[]", "-1"):
            yield ctx.replace(part, new, "none")
    elif isinstance(part.parent, ast.Return) and isinstance(node, ast.Constant):
        for new in ("None", "0", "[]", '""', "True", "False", "-1"):
            if new != ctx.source.code(node):
                yield ctx.replace(part, new, "returned-constant")
    elif isinstance(node, (ast.List, ast.Dict)) and isinstance(part.parent, (ast.Return, ast.Assign)):
        empty = not (node.elts if isinstance(node, ast.List) else node.keys)
        if empty:
            for new in ("[]", "{}", "set()", "None", "[0]", "[1]", '""', "0"):
                if new != ctx.source.code(node):
                    yield ctx.replace(part, new, "empty-value")


def boundaries(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """One more or one less where a position, a bound, a count or a compared number stands."""
    node = part.node
    if not isinstance(node, ast.expr) or isinstance(node, (ast.Constant, ast.Slice, ast.Tuple, ast.Starred)):
        return
    if kind(node, ctx.kinds) not in {"int", "float", ""} or not _bound_position(part, ctx):
        return
    code = ctx.source.code(node)
    safe = code if isinstance(node, (*_PLAIN, ast.BinOp)) and not _loose(node) else ctx.source.atom(node)
    grouped = isinstance(part.parent, (ast.BinOp, ast.UnaryOp))
    for sign in ("+", "-"):
        new = f"{safe} {sign} 1"
        yield ctx.replace(part, f"({new})" if grouped else new, "boundary")


def slices(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Bounds of slices added and removed, a slice put on or taken off a value, the step's sign."""
    node = part.node
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load):
        yield from _slice_edits(part, node, node.slice, ctx)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield ctx.replace(part, ctx.source.atom(node.value), "subscript-removed")
        if not isinstance(node.slice, (ast.Slice, ast.Constant, ast.Tuple)):
            start, end = ctx.source.span(node.slice)
            yield ctx.edit(start, end, f"-{ctx.source.atom(node.slice)}", "boundary-negative", node)
        return
    if not isinstance(node, (ast.Name, ast.Call, ast.ListComp)) or not _readable(part):
        return
    if (
        kind(node, ctx.kinds) not in {"", "str", "list", "tuple"}
        or part.field == "func"
        or _is_function_name(part, ctx)
    ):
        return
    base = ctx.source.code(node)
    for new in ("[1:]", "[:-1]", "[::-1]", "[0]", "[-1]"):
        yield ctx.replace(part, base + new, "slice-added")
    if isinstance(node, ast.Name):
        for name in ctx.names:
            if name != node.id and ctx.visible(name, part) and ctx.kinds.get(name, "") in ("int", ""):
                for new in (f"[{name}:]", f"[:{name}]", f"[{name}]"):
                    yield ctx.replace(part, base + new, "slice-by-name")


def names(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Another visible name of a plausible kind, also on the left of an assignment."""
    node = part.node
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        for attribute in ctx.attributes:
            if attribute != node.attr and part.field != "func":
                yield ctx.replace(part, f"self.{attribute}", "attribute")
        return
    if not isinstance(node, ast.Name) or node.id not in ctx.names or part.field == "func":
        return
    if part.field == "target" and not isinstance(part.parent, ast.AugAssign):
        return
    for name in ctx.names:
        if name != node.id and ctx.visible(name, part) and fit(ctx.kinds.get(name, ""), ctx.kinds.get(node.id, "")):
            stored = isinstance(node.ctx, ast.Store)
            yield ctx.replace(part, name, "assigned-name" if stored else "name")


def names_for_values(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A constant becomes a visible name; a name becomes a constant of the function."""
    node = part.node
    if isinstance(node, ast.Constant) and not _in_fstring(part) and isinstance(node.value, (int, float, str)):
        if _held(part):
            return
        for name in ctx.names:
            if ctx.visible(name, part) and fit(ctx.kinds.get(name, ""), type(node.value).__name__):
                yield ctx.replace(part, name, "name-for-constant")
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in ctx.names and _readable(part):
        for constant in ctx.constants:
            dotted = isinstance(part.parent, ast.Attribute) and not isinstance(constant.value, str)
            if (
                not dotted
                and constant.value is not None
                and fit(ctx.kinds.get(node.id, ""), type(constant.value).__name__)
            ):
                yield ctx.replace(part, repr(constant.value), "constant-for-name")


def unquoted_names(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A string that spells a visible name becomes that name."""
    value = part.node.value if isinstance(part.node, ast.Constant) else None
    if isinstance(value, str) and value in ctx.names and ctx.visible(value, part) and not _in_fstring(part):
        for new in (value, f"{value}.encode()", f"str({value})"):
            yield ctx.replace(part, new, "name-unquoted")


def donors(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A short expression from elsewhere in the function in this one's place."""
    node = part.node
    if not isinstance(node, (ast.Name, ast.Constant, ast.Call, ast.Subscript, ast.BinOp, ast.Attribute)):
        return
    if not _readable(part) or _held(part) or part.field == "func" or _in_fstring(part) or _is_function_name(part, ctx):
        return
    wanted, own = kind(node, ctx.kinds), ctx.source.code(node)
    for code, offered, used in ctx.donors:
        if code == own or not fit(wanted, offered):
            continue
        if all(name not in ctx.names or ctx.visible(name, part) for name in used):
            yield ctx.replace(part, code, "expression")


def calls(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Arguments swapped or left out, the call taken away from around its argument, done twice, or another function."""
    node = part.node
    if not isinstance(node, ast.Call):
        return
    source = ctx.source
    generator = len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp)
    arguments = node.args
    for first, second in itertools.pairwise(arguments):
        (a, b), (c, d) = source.span(first), source.span(second)
        yield ctx.edit(a, d, source.text[c:d] + source.text[b:c] + source.text[a:b], "arguments-swapped", node)
    if len(arguments) + len(node.keywords) > 1:
        yield from _arguments_removed(part, node, ctx)
    if arguments and isinstance(node.func, (ast.Name, ast.Attribute)) and not isinstance(arguments[0], ast.Starred):
        if generator and isinstance(node.func, ast.Name):
            inner = source.code(arguments[0])
            yield ctx.replace(part, f"[{inner[1:-1]}]" if inner.startswith("(") else inner, "call-removed")
        elif not generator:
            yield ctx.replace(part, ctx.standing(arguments[0], part), "call-removed")
    if isinstance(node.func, ast.Attribute):
        yield ctx.replace(part, source.code(node.func.value), "method-removed")
        yield from _method_edits(part, node, node.func, ctx)
    elif isinstance(node.func, ast.Name):
        yield from _function_edits(part, node, node.func, ctx)
    if isinstance(part.parent, ast.Expr) and node.func and isinstance(node.func, ast.Attribute):
        if node.func.attr == "append" and len(arguments) == 1 and not generator:
            start, end = source.span(node.func)[1], part.end
            owner = source.span(node.func.value)[1]
            yield ctx.edit(owner, end, f".insert(0, {source.code(arguments[0])})", "method", node)
            yield ctx.edit(start - len("append"), start, "extend", "method", node)
        if node.func.attr == "insert" and len(arguments) == 2:
            owner = source.span(node.func.value)[1]
            yield ctx.edit(owner, part.end, f".append({source.code(arguments[1])})", "method", node)


def wrappers(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """abs(), len(), sorted(), .lower() ... put around a value."""
    node = part.node
    if not isinstance(node, ast.expr) or not _readable(part) or _held(part) or _in_fstring(part):
        return
    if isinstance(node, (ast.Constant, ast.GeneratorExp, ast.Starred, ast.Lambda, ast.Slice, ast.Compare, ast.BoolOp)):
        return
    if part.field == "func" or _is_function_name(part, ctx) or (part.field == "value" and _owner(part)):
        return
    code, own = ctx.source.code(node), kind(node, ctx.kinds)
    outer = _called_name(part.parent)
    for wrapper, accepted in _WRAPPERS.items():
        if wrapper in (_called_name(node), outer) or (own and own not in accepted):
            continue
        absolute = wrapper == "abs" and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)
        yield ctx.replace(part, f"{wrapper}({code})", "absolute" if absolute else "call-added")
    if own in ("str", ""):
        for method in _METHOD_WRAPPERS:
            yield ctx.replace(part, f"{ctx.source.atom(node)}.{method}()", "method-added")


def clauses_added(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """A condition joined with another one of the function."""
    if part.field not in ("test", "ifs") or not isinstance(part.node, ast.expr):
        return
    own = (
        ctx.standing(part.node, part)
        if not isinstance(part.node, (ast.BoolOp, ast.IfExp))
        else ctx.source.atom(part.node)
    )
    for other in ctx.source.parts:
        if other.field not in ("test", "ifs", "values") or not isinstance(other.node, ast.Compare):
            continue
        code = ctx.source.code(other.node)
        used = [n.id for n in ast.walk(other.node) if isinstance(n, ast.Name)]
        inside = part.start <= other.start < part.end
        if inside or "\n" in code or not all(n not in ctx.names or ctx.visible(n, part) for n in used):
            continue
        for word in ("and", "or", "and not"):
            yield ctx.replace(part, f"{own} {word} {code}", "clause-added")


def displays(part: Part, ctx: Context) -> Iterator[SmallEdit]:
    """Items of a list, tuple or set swapped or left out; a comprehension's condition left out or negated."""
    node, source = part.node, ctx.source
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)) and len(node.elts) > 1:
        for first, second in zip(node.elts, node.elts[1:], strict=False):
            (a, b), (c, d) = source.span(first), source.span(second)
            yield ctx.edit(a, d, source.text[c:d] + source.text[b:c] + source.text[a:b], "items-swapped", node)
        if isinstance(node.ctx if not isinstance(node, ast.Set) else ast.Load(), ast.Load):
            for index, item in enumerate(node.elts):
                yield _without(source, node.elts, index, ctx, item, "item-removed")
    if isinstance(node, ast.comprehension):
        for condition in node.ifs:
            a, b = source.span(condition)
            yield ctx.edit(a, b, "True", "condition-removed", condition)
    if isinstance(node, ast.IfExp):
        (a, b), (c, d) = source.span(node.body), source.span(node.orelse)
        new = source.text[c:d] + source.text[b:c] + source.text[a:b]
        yield ctx.edit(a, d, new, "branches-swapped", node)
        yield ctx.replace(part, ctx.standing(node.body, part), "branch-removed")
        yield ctx.replace(part, ctx.standing(node.orelse, part), "branch-removed")


Family = Callable[[Part, Context], Iterator[SmallEdit]]

FAULTS: tuple[Family, ...] = (
    comparisons,
    arithmetic,
    augmented,
    logic,
    negations,
    numbers,
    texts,
    constants,
    boundaries,
    calls,
    displays,
)
"""The families of mutation testing."""

FAMILIES: tuple[Family, ...] = (
    *FAULTS,
    slices,
    names,
    unquoted_names,
    names_for_values,
    donors,
    wrappers,
    clauses_added,
)
"""These and what a repair may need besides; their number grows with the square of the function's length."""

_PLAIN = (ast.Name, ast.Call, ast.Subscript, ast.Attribute)


def _middle_operand_removed(part: Part, left: ast.expr, place: tuple[int, int], ctx: Context) -> Iterator[SmallEdit]:
    """`a ** b * c` becomes `a ** c`: the operand in the middle, with the operator after it."""
    if not isinstance(left, ast.BinOp) or "(" in ctx.source.text[part.start : ctx.source.span(left)[0]]:
        return
    inner = _between(ctx, left.left, left.right, _BINARY_TOKEN)
    if inner is not None:
        text = ctx.source.text
        new = text[part.start : inner[1]] + " " + text[place[1] : part.end].lstrip()
        yield ctx.replace(part, new, "operand-removed")


def _between(ctx: Context, left: ast.AST, right: ast.AST, pattern: re.Pattern[str]) -> tuple[int, int] | None:
    return ctx.source.token(ctx.source.span(left)[1], ctx.source.span(right)[0], pattern)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _held(part: Part) -> bool:
    """A statement of its own, or a subject whose change would change nothing that is seen."""
    return isinstance(part.parent, ast.Expr) or part.field in ("targets", "target", "msg")


def _in_fstring(part: Part) -> bool:
    return isinstance(part.parent, (ast.JoinedStr, ast.FormattedValue))


def _readable(part: Part) -> bool:
    return isinstance(getattr(part.node, "ctx", ast.Load()), ast.Load)


def _owner(part: Part) -> bool:
    return isinstance(part.parent, ast.Attribute)


def _is_function_name(part: Part, ctx: Context) -> bool:
    """A name that is no local: a module, a builtin, a class, another function."""
    return isinstance(part.node, ast.Name) and part.node.id not in ctx.names


def _called_name(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _loose(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(
        node.op, (ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift)
    )


def _bound_position(part: Part, ctx: Context) -> bool:
    parent = part.parent
    if isinstance(parent, ast.Call):
        return _called_name(parent) == "range" and part.field == "args"
    if isinstance(parent, ast.Compare):
        operators = parent.ops
        return not any(isinstance(o, (ast.In, ast.NotIn, ast.Is, ast.IsNot)) for o in operators) and (
            kind(part.node, ctx.kinds) in NUMBERS
        )
    if isinstance(parent, ast.Slice) or (isinstance(parent, ast.Subscript) and part.field == "slice"):
        return True
    if isinstance(parent, ast.BinOp):
        return kind(part.node, ctx.kinds) in NUMBERS and not isinstance(part.node, ast.BinOp)
    return (
        isinstance(parent, (ast.Return, ast.Assign, ast.AugAssign))
        and part.field == "value"
        and not (isinstance(part.node, (ast.Compare, ast.BoolOp)) or kind(part.node, ctx.kinds) == "")
    )


def _other_numbers(value: int | float, ctx: Context) -> Iterator[tuple[int | float, str]]:
    yield value + 1, "off-by-one"
    yield value - 1, "off-by-one"
    for new in (0, 1):
        yield type(value)(new), "number"
    yield -value, "sign"
    for constant in ctx.constants:
        if _is_number(constant.value):
            yield constant.value, "number"
    yield 2, "number"
    yield value * 2, "number-scaled"
    if isinstance(value, int):
        yield value + 2, "number-scaled"
        yield value - 2, "number-scaled"
        yield value // 2, "number-scaled"
        yield value * 10, "number-scaled"
        yield value // 10, "number-scaled"
    else:
        yield value / 2, "number-scaled"
    for word in re.findall(r"(?<![\w.])-?\d{1,6}(?:\.\d{1,6})?(?![\w.])", ctx.docstring)[:40]:
        yield (float(word) if "." in word else int(word)), "number-from-docs"


def _other_texts(value: str, ctx: Context) -> Iterator[tuple[str, str]]:
    yield "", "text"
    yield " ", "text"
    for word in value.split():
        close = difflib.get_close_matches(word, set(re.findall(r"\w{4,}", ctx.docstring)), n=2, cutoff=0.8)
        for other in close:
            if other.lower() != word.lower():
                yield value.replace(word, other), "spelling"
    for other in (value.lower(), value.upper(), value.swapcase()):
        yield other, "text-case"
    for partner in _PARTNERS.get(value, ""):
        yield partner, "text-partner"
    for constant in ctx.constants:
        if isinstance(constant.value, str):
            yield constant.value, "text"
    if 1 < len(value) <= 30:
        for index, character in enumerate(value):
            shorter = value[:index] + value[index + 1 :]
            yield shorter, "text-shortened"
            yield shorter.replace(character.swapcase(), ""), "text-shortened"
    if value in ("", " "):
        for new in (",", ", ", "\n", "-", "_"):
            yield new, "text"
    if len(value) == 1 and value.isdigit():
        yield str((int(value) + 1) % 10), "text"
        yield str((int(value) - 1) % 10), "text"
    for quoted in re.findall(r"'([^'\n]{1,12})'|\"([^\"\n]{1,12})\"", ctx.docstring)[:20]:
        yield quoted[0] or quoted[1], "text-from-docs"


def _slice_edits(part: Part, node: ast.Subscript, inner: ast.Slice, ctx: Context) -> Iterator[SmallEdit]:
    source = ctx.source
    base = source.atom(node.value)
    bounds = [source.code(b) if b is not None else "" for b in (inner.lower, inner.upper, inner.step)]

    def sliced(lower: str, upper: str, step: str) -> SmallEdit:
        return ctx.replace(part, f"{base}[{lower}:{upper}{':' + step if step else ''}]", "slice")

    lower, upper, step = bounds
    if lower:
        yield sliced("", upper, step)
        yield sliced(upper, lower, step)
    else:
        yield sliced("1", upper, step)
    if upper:
        yield sliced(lower, "", step)
        if not lower:
            yield sliced(upper, "", step)
    else:
        yield sliced(lower, "-1", step)
        if lower:
            yield sliced("", lower, step)
    if step:
        yield sliced(lower, upper, "")
        yield sliced(lower, upper, step[1:] if step.startswith("-") else f"-{step}")
    else:
        yield sliced(lower, upper, "-1")
        yield sliced(lower, upper, "2")


def _arguments_removed(part: Part, node: ast.Call, ctx: Context) -> Iterator[SmallEdit]:
    everything: list[ast.AST] = [*node.args, *node.keywords]
    for index, argument in enumerate(everything):
        yield _without(ctx.source, everything, index, ctx, argument, "argument-removed")


def _without(
    source: Source, items: list[ast.AST] | list[ast.expr], index: int, ctx: Context, item: ast.AST, operator: str
) -> SmallEdit:
    if index + 1 < len(items):
        return ctx.edit(source.span(item)[0], source.span(items[index + 1])[0], "", operator, item)
    return ctx.edit(source.span(items[index - 1])[1], source.span(item)[1], "", operator, item)


def _function_edits(part: Part, node: ast.Call, function: ast.Name, ctx: Context) -> Iterator[SmallEdit]:
    start, end = ctx.source.span(function)
    others = {o: None for group in _FUNCTIONS if function.id in group for o in group if o != function.id}
    for other in others:
        yield ctx.edit(start, end, other, "function", node)
    code = ctx.source.code(node)
    if len(node.args) == 1 and function.id not in _WRAPPERS and not isinstance(node.args[0], ast.GeneratorExp):
        yield ctx.replace(part, f"{ctx.source.code(function)}({code})", "call-repeated")
    if function.id == "range" and len(node.args) == 1:
        yield ctx.edit(end + 1, end + 1, "1, ", "boundary", node)
    if function.id == "range" and len(node.args) == 2:
        yield ctx.edit(part.end - 1, part.end - 1, ", 2", "boundary", node)
    if function.id in ("sorted", "min", "max"):
        yield from _ordering(part, node, ctx)


def _method_edits(part: Part, node: ast.Call, function: ast.Attribute, ctx: Context) -> Iterator[SmallEdit]:
    end = ctx.source.span(function)[1]
    start = end - len(function.attr)
    others = {o: None for group in _METHODS if function.attr in group for o in group if o != function.attr}
    for other in others:
        yield ctx.edit(start, end, other, "method", node)
    if function.attr == "pop":
        inside = ctx.source.span(node.args[0]) if node.args else (part.end - 1, part.end - 1)
        yield ctx.edit(*inside, "" if node.args else "0", "boundary", node)
    if function.attr == "sort":
        yield from _ordering(part, node, ctx)


def _ordering(part: Part, node: ast.Call, ctx: Context) -> Iterator[SmallEdit]:
    given = {k.arg: k for k in node.keywords}
    separator = ", " if node.args or node.keywords else ""
    only_generator = len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp)
    if only_generator:
        return
    if "reverse" not in given and _called_name(node) not in ("min", "max"):
        yield ctx.edit(part.end - 1, part.end - 1, f"{separator}reverse=True", "ordering", node)
    if "key" not in given:
        for key in ("len", "abs", "str"):
            yield ctx.edit(part.end - 1, part.end - 1, f"{separator}key={key}", "ordering", node)


def _used_as_many(source: Source) -> set[str]:
    """Names that are iterated, summed, measured or sliced somewhere."""
    names: set[str] = set()
    for part in source.parts:
        match part.node:
            case ast.For(iter=ast.Name(id=name)) | ast.comprehension(iter=ast.Name(id=name)):
                names.add(name)
            case ast.Call(func=ast.Name(id="len" | "sum" | "sorted" | "min" | "max"), args=[ast.Name(id=name)]):
                names.add(name)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Slice()):
                names.add(name)
    return names


def _donors(source: Source, names: dict[str, tuple[int, int]], kinds: Kinds) -> list[tuple[str, str, tuple[str, ...]]]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for part in source.parts:
        node = part.node
        usable = isinstance(node, (ast.Call, ast.Subscript, ast.Attribute, ast.BinOp)) and part.field != "func"
        if not usable or not _readable(part) or _in_fstring(part):
            continue
        if any(isinstance(n, (ast.GeneratorExp, ast.ListComp, ast.Lambda)) for n in ast.walk(node)):
            continue
        code = source.atom(node)
        used = tuple(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        if len(code) <= _DONOR_LENGTH and "\n" not in code:
            found.setdefault(code, (kind(node, kinds), used))
    many = _used_as_many(source)
    for argument in source.function.args.args:
        guess = annotated(argument.annotation) or kinds.get(argument.arg, "")
        if guess in SIZED or (not guess and argument.arg in many):
            found.setdefault(f"len({argument.arg})", ("int", ("len", argument.arg)))
    return [(code, offered, used) for code, (offered, used) in found.items()][:40]
