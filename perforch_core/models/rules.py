"""The built-in rules: a model without a prompt that rewrites slow patterns (docs/rules.md tells how to write one).

A rule is a YAML file under rules/<language>/. What it matches is an ast-grep rule; what it asks of the surrounding
code (`where`) and how it edits (`fix`, `before`, `edits`, ...) is ours. A rule may propose what is wrong for a given
program: verification decides.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perforch_core.models import rule_scope
from perforch_core.models.interface import Hints, Rewrite
from perforch_core.models.rule_edit import VARIABLE, Change, Editor, NoFit, Span, apply
from perforch_core.models.rule_scope import Scope, scope_of
from perforch_core.task import Stage, Target

_FOLDER = Path(__file__).with_name("rules")
_MOST_AT_ONCE = 12
"""Applications of one rule to one function, so that a rule that matches its own output ends."""

_COMPREHENSIONS = frozenset(
    {"list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"}
)


class RuleError(Exception):
    """A rule file that cannot be used; the message names the file and what is wrong in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A rule's test: `before` becomes exactly `after`, and `call` gives the same result in both."""

    before: str
    after: str
    call: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """One form of the slow pattern, with its own rewrite."""

    rule: Mapping[str, Any]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    utils: Mapping[str, Any] = field(default_factory=dict)
    where: tuple[Mapping[str, Any], ...] = ()
    hoist: tuple[str, ...] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    before: str = ""
    after: str = ""
    fix: str | None = None
    edits: tuple[Mapping[str, Any], ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """One slow pattern. `why` is for the user; `since` the Python it needs; `hint` whether it shows on save."""

    id: str
    title: str
    why: str
    language: str
    since: tuple[int, int] = (3, 8)
    hint: bool = True
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A slow pattern found in a text: code points `start` to `end`, and 1-based first `line`."""

    rule: str
    title: str
    message: str
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Application:
    """One place where a rule fits. `sure` is False where a guess (an unknown type) was needed."""

    rule: Rule
    start: int
    end: int
    line: int
    sure: bool
    changes: tuple[Change, ...]


@functools.lru_cache(maxsize=8)
def load_rules(language: str) -> tuple[Rule, ...]:
    """The rules for a language in the order of their file names; () where there are none. Raises RuleError."""
    folder = _FOLDER / language
    files = sorted(folder.glob("*.yml")) if folder.is_dir() else []
    shared = _read(folder / "_shared.yml") if (folder / "_shared.yml") in files else {}
    return tuple(_parse(file, language, shared.get("utils", {})) for file in files if not file.name.startswith("_"))


def parse_rule(text: str, language: str, *, name: str = "rule") -> Rule:
    """A rule from YAML text, with the language's shared utilities. Raises RuleError."""
    shared_file = _FOLDER / language / "_shared.yml"
    shared = _read(shared_file).get("utils", {}) if shared_file.is_file() else {}
    return _rule(_yaml(text, name), name, language, shared)


class RuleModel:
    """The built-in rules as a model for the refine stage."""

    def __init__(self, *, name: str = "rules") -> None:
        self.name = name
        self.stages: frozenset[Stage] = frozenset({Stage.REFINE})
        self.languages: frozenset[str] = frozenset({"python"})

    def propose(self, target: Target, hints: Hints) -> Iterator[Rewrite]:
        """Each application alone (hot lines first), each rule everywhere, then the rules together."""
        if target.language not in self.languages:
            return
        text, newline = _plain(target.text)
        if text is None:
            return
        start, end = _at_plain(target.text, target.start), _at_plain(target.text, target.end)
        seen = {text}
        for new, rules in _rewrites(text, start, end, load_rules(target.language), hints.hot_lines):
            if new in seen:
                continue
            seen.add(new)
            yield Rewrite(
                text=new.replace("\n", newline),
                rule="+".join(rule.id for rule in rules),
                title=", ".join(rule.title for rule in rules),
                why=" ".join(rule.why for rule in rules),
            )


def hints(text: str, language: str, *, within: tuple[int, int] | None = None) -> list[Finding]:
    """The slow patterns in a text that are worth a hint, in order; `within` limits them to a range of code points."""
    plain, newline = _plain(text)
    if plain is None:
        return []
    start, end = (0, len(plain)) if within is None else (_at_plain(text, within[0]), _at_plain(text, within[1]))
    found: dict[tuple[int, int], Finding] = {}
    for application in applications(plain, start, end, load_rules(language)):
        if not (application.sure and application.rule.hint):
            continue
        shift = len(newline) - 1
        first = application.start + shift * plain.count("\n", 0, application.start)
        last = application.end + shift * plain.count("\n", 0, application.end)
        rule = application.rule
        finding = Finding(
            rule=rule.id, title=rule.title, message=rule.why, start=first, end=last, line=application.line
        )
        found.setdefault((first, last), finding)
    return sorted(found.values(), key=lambda f: (f.start, f.end))


def applications(text: str, start: int, end: int, rules: Sequence[Rule]) -> Iterator[_Application]:
    """Every place in a range of a "\\n"-only text where one of the rules fits and its edit gives valid code."""
    from ast_grep_py import SgRoot

    scope = scope_of(text)
    if scope is None:
        return
    root = SgRoot(text, "python").root()
    node = _node_at(root, start, end)
    for rule in rules:
        taken: set[tuple[int, int]] = set()
        for variant in rule.variants:
            for match in _find(node, _config(variant), rule.id):
                span = _span(match)
                if not (start <= span.start and span.end <= end) or (span.start, span.end) in taken:
                    continue
                application = _try(rule, variant, match, text, scope, (start, end))
                if application is not None:
                    taken.add((span.start, span.end))
                    yield application


def _rewrites(
    text: str, start: int, end: int, rules: Sequence[Rule], hot: Mapping[int, float]
) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    found = list(applications(text, start, end, rules))
    if not found:
        return

    def heat(application: _Application) -> float:
        last = application.line + text.count("\n", application.start, application.end)
        return sum(hot.get(line, 0.0) for line in range(application.line, last + 1))

    found.sort(key=lambda a: (-heat(a), not a.sure))
    for application in found:
        yield apply(text, application.changes), (application.rule,)
    used = list(dict.fromkeys(a.rule for a in found))
    for rule in used:
        yield _everywhere(text, start, end, (rule,)), (rule,)
    if len(used) > 1:
        sure = tuple(rule for rule in used if any(a.sure for a in found if a.rule is rule))
        if 1 < len(sure) < len(used):
            yield _everywhere(text, start, end, sure), sure
        for count in range(2, len(used) + 1):
            yield _everywhere(text, start, end, tuple(used[:count])), tuple(used[:count])


def _everywhere(text: str, start: int, end: int, rules: Sequence[Rule]) -> str:
    """Apply rules one place after another until none fits any more."""
    tail = len(text) - end
    for rule in rules:
        for _ in range(_MOST_AT_ONCE):
            application = next(applications(text, start, len(text) - tail, (rule,)), None)
            if application is None:
                break
            # Imports above the function move it: its new start is the old one plus what was put before it.
            start += sum(len(c.new) - (c.end - c.start) for c in application.changes if c.end <= start and c.order < 0)
            text = apply(text, application.changes)
    return text


# Reading rule files


def _read(file: Path) -> dict[str, Any]:
    return _yaml(file.read_text(encoding="utf-8"), file.name)


def _yaml(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise RuleError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RuleError(f"{name}: expected a mapping at the top")
    return content


def _parse(file: Path, language: str, shared: Mapping[str, Any]) -> Rule:
    return _rule(_read(file), file.name, language, shared)


_RULE_KEYS = {"id", "title", "why", "since", "hint", "variants"}
_VARIANT_KEYS = set(Variant.__dataclass_fields__) - {"examples"} | {"example"}


def _rule(content: dict[str, Any], name: str, language: str, shared: Mapping[str, Any]) -> Rule:
    unknown = set(content) - _RULE_KEYS - _VARIANT_KEYS
    missing = {"id", "title", "why"} - set(content)
    if unknown or missing:
        raise RuleError(f"{name}: unknown keys {sorted(unknown)}, missing keys {sorted(missing)}")
    common = {key: value for key, value in content.items() if key in _VARIANT_KEYS}
    forms = content.get("variants") or [{}]
    since = str(content.get("since", "3.8")).split(".")
    return Rule(
        id=content["id"],
        title=content["title"],
        why=" ".join(content["why"].split()),
        language=language,
        since=(int(since[0]), int(since[1])),
        hint=bool(content.get("hint", True)),
        variants=tuple(_variant({**common, **form}, name, shared) for form in forms),
    )


def _variant(content: dict[str, Any], name: str, shared: Mapping[str, Any]) -> Variant:
    unknown = set(content) - _VARIANT_KEYS
    if unknown or "rule" not in content:
        raise RuleError(f"{name}: unknown keys {sorted(unknown)}" if unknown else f"{name}: a variant needs `rule`")
    examples = content.pop("example", [])
    hoist = content.get("hoist", ())
    return Variant(
        **{
            **content,
            "utils": {**shared, **content.get("utils", {})},
            "where": tuple(content.get("where", ())),
            "edits": tuple(content.get("edits", ())),
            "hoist": (hoist,) if isinstance(hoist, str) else tuple(hoist),
            "examples": tuple(Example(**e) for e in ([examples] if isinstance(examples, dict) else examples)),
        }
    )


def _config(variant: Variant) -> dict[str, Any]:
    used = _mentioned(variant.rule) | _mentioned(variant.constraints)
    utils = {name: rule for name, rule in variant.utils.items() if name in used}
    while more := {n: r for n, r in variant.utils.items() if n in _mentioned(utils) and n not in utils}:
        utils.update(more)
    config: dict[str, Any] = {"rule": copy.deepcopy(dict(variant.rule))}
    if variant.constraints:
        config["constraints"] = copy.deepcopy(dict(variant.constraints))
    if utils:
        config["utils"] = copy.deepcopy(utils)
    return config


def _find(node: Any, config: dict[str, Any], name: object) -> list[Any]:
    try:
        return list(node.find_all(config))
    except RuntimeError as error:
        reason = str(error).split("Stack backtrace")[0]
        raise RuleError(f"rule {name}: {' '.join(reason.split())}") from error


def _mentioned(rule: Any) -> set[str]:
    """The names of utilities that a rule refers to by `matches`."""
    if isinstance(rule, Mapping):
        own = {rule["matches"]} if isinstance(rule.get("matches"), str) else set()
        return own.union(*(_mentioned(value) for value in rule.values()))
    if isinstance(rule, list):
        return set().union(*(_mentioned(item) for item in rule))
    return set()


def _variables(rule: Any) -> set[str]:
    """The meta variables that appear in a rule."""
    if isinstance(rule, Mapping):
        return set().union(*(_variables(value) for value in rule.values()))
    if isinstance(rule, (list, tuple)):
        return set().union(*(_variables(item) for item in rule))
    return {m.group(1) for m in VARIABLE.finditer(rule)} if isinstance(rule, str) else set()


# From match to application


def _try(rule: Rule, variant: Variant, match: Any, text: str, scope: Scope, within: tuple[int, int]) -> Any:
    config = _config(variant)
    editor = Editor(text=text, scope=scope, spans=_captured(match, config))
    context = _Context(match=match, editor=editor, variant=variant)
    try:
        _surroundings(context)
        sure = True
        for condition in variant.where:
            answer = _holds(context, condition)
            if answer is False:
                return None
            sure = sure and answer is True
        _edit(context)
        new = apply(text, editor.changes)
    except NoFit:
        return None
    if new == text or not _parses(new) or not _inside(editor.changes, within):
        return None
    start = match.range().start
    end = match.range().end.index
    line = text.count("\n", 0, start.index) + 1
    return _Application(rule=rule, start=start.index, end=end, line=line, sure=sure, changes=tuple(editor.changes))


@dataclass
class _Context:
    match: Any
    editor: Editor
    variant: Variant
    nodes: dict[str, Any] = field(default_factory=dict)

    def span(self, name: str) -> Span:
        span = self.editor.spans.get(name.lstrip("$"))
        if span is None:
            raise NoFit(f"{name} is not captured")
        return span

    def text(self, name: str) -> str:
        span = self.span(name)
        return self.editor.text[span.start : span.end]


def _captured(match: Any, config: Mapping[str, Any]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for name in _variables(config):
        node = match.get_match(name)
        if node is not None:
            spans[name] = _span(node)
        elif several := match.get_multiple_matches(name):
            spans[name] = Span(_span(several[0]).start, _span(several[-1]).end)
    return spans


def _surroundings(context: _Context) -> None:
    """Name the match, its statement, its loops and its function, and make up the words the rule asks for."""
    spans, editor = context.editor.spans, context.editor
    match = context.match
    spans["MATCH"] = _span(match)
    spans["STATEMENT"] = _span(_statement(match))
    loops, function = _around(match)
    if function is not None:
        spans["FUNCTION"] = _span(function)
        body = function.field("body")
        first = editor.indent(_span(body).start)
        outer = editor.indent(_span(function).start)
        if first.startswith(outer) and len(first) > len(outer):
            editor.unit = first[len(outer) :]
    if context.variant.hoist:
        loops = _hoistable(context, loops)
        if not loops:
            raise NoFit("it changes in the loop")
    if loops:
        spans.setdefault("LOOP", _span(loops[-1] if context.variant.hoist else loops[0]))
        spans["OUTER"] = _span(loops[-1])
    for name, base in context.variant.fresh.items():
        filled = VARIABLE.sub(lambda m: _short(context.text(m.group(1))), base)
        editor.words[name] = editor.fresh(filled if filled == base else filled.lower())


def _short(text: str) -> str:
    """The last name in an expression: a base for fresh names."""
    names = re.findall(r"[A-Za-z]\w*", text)
    return names[-1] if names and len(names[-1]) < 30 else "value"


def _hoistable(context: _Context, loops: list[Any]) -> list[Any]:
    names: set[str] = set()
    for variable in context.variant.hoist:
        if variable.lstrip("$") not in context.editor.spans and variable.startswith("$$$"):
            continue
        span = context.span(variable)
        names |= context.editor.scope.names_in(span.start, span.end)
        if not rule_scope.is_pure(context.text(variable)):
            raise NoFit("it has effects")
    kept: list[Any] = []
    for loop in loops:
        span = _span(loop)
        if context.editor.scope.changes(names, span.start, span.end):
            break
        kept.append(loop)
    return kept


def _around(node: Any) -> tuple[list[Any], Any]:
    """The loops that repeat a node, innermost first, and the function around it."""
    loops: list[Any] = []
    start = node.range().start.index
    for above in node.ancestors():
        kind = above.kind()
        if kind in ("function_definition", "lambda"):
            return loops, above if kind == "function_definition" else None
        if _repeats(above, kind, start):
            loops.append(above)
    return loops, None


def _repeats(node: Any, kind: str, start: int) -> bool:
    """Whether a node around offset `start` runs what stands there again and again."""
    if kind == "for_statement":
        return _span(node.field("body")).start <= start
    return kind == "while_statement" or (kind in _COMPREHENSIONS and not _in_first_iterable(node, start))


def _in_first_iterable(comprehension: Any, start: int) -> bool:
    for child in comprehension.children():
        if child.kind() == "for_in_clause":
            right = child.field("right")
            return right is not None and _span(right).start <= start < _span(right).end
    return False


def _statement(node: Any) -> Any:
    for step in [node, *node.ancestors()]:
        parent = step.parent()
        if parent is not None and parent.kind() in ("block", "module"):
            return step
    return node


def _span(node: Any) -> Span:
    place = node.range()
    return Span(place.start.index, place.end.index)


def _bounds(node: Any) -> tuple[int, int]:
    place = node.range()
    return place.start.index, place.end.index


def _node_at(root: Any, start: int, end: int) -> Any:
    """The smallest node that spans a range."""
    node = root
    while True:
        for child in node.children():
            span = _span(child)
            if span.start <= start and end <= span.end:
                node = child
                break
        else:
            return node


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


def _inside(changes: Sequence[Change], within: tuple[int, int]) -> bool:
    """Whether only imports and module constants (negative order) lie outside of the target."""
    return all(c.order < 0 or (within[0] <= c.start and c.end <= within[1] + 1) for c in changes)


# Edits


def _edit(context: _Context) -> None:
    editor, variant, spans = context.editor, context.variant, context.editor.spans
    for name, path in variant.imports.items():
        editor.words[name] = editor.imported(path)
    for edit in variant.edits:
        _one_edit(context, edit)
    if variant.fix is not None:
        editor.replace(spans["MATCH"], variant.fix)
    if variant.before:
        editor.before(_statement_span(context, "LOOP"), variant.before)
    if variant.after:
        editor.after(_statement_span(context, "LOOP"), variant.after)
    if variant.module:
        top = _top_statement(context)
        editor.changes.append(Change(top.start, top.start, editor.expand(variant.module, "") + "\n\n\n", -1))


def _one_edit(context: _Context, edit: Mapping[str, Any]) -> None:
    editor = context.editor
    template = edit.get("with", "")
    if "replace" in edit:
        editor.replace(context.span(edit["replace"]), template)
    elif "before" in edit:
        editor.before(_statement_span(context, edit["before"]), template)
    elif "after" in edit:
        editor.after(_statement_span(context, edit["after"]), template)
    elif "remove" in edit:
        editor.remove(_statement_span(context, edit["remove"]))
    elif "unwrap" in edit:
        editor.unwrap(context.span(edit["unwrap"]), context.span(edit["body"]))
    elif "brackets" in edit:
        editor.brackets(context.span(edit["brackets"]), template)
    elif "header" in edit:
        editor.header(context.span(edit["header"]), context.span(edit["body"]), template)
    elif "each" in edit:
        found = list(_matches(context, edit["each"], context.span(edit["in"])))
        if not found and not edit.get("optional"):
            raise NoFit("nothing to replace")
        for node, captured in found:
            editor.replace(_span(node), template, captured)
    else:
        raise RuleError(f"an edit needs replace, before, after, remove, unwrap, brackets, header or each: {dict(edit)}")


def _matches(context: _Context, rule: Mapping[str, Any], within: Span) -> Iterator[tuple[Any, dict[str, Span]]]:
    """The matches of a further rule inside a range whose variables agree with those captured already."""
    root = context.match.get_root().root()
    config = _config(Variant(rule=rule, utils=context.variant.utils))
    text = context.editor.text
    for node in _find(_node_at(root, within.start, within.end), config, dict(rule)):
        span = _span(node)
        if not (within.start <= span.start and span.end <= within.end):
            continue
        captured = _captured(node, config)
        known = context.editor.spans
        if all(text[s.start : s.end] == context.text(n) for n, s in captured.items() if n in known):
            yield node, captured


def _statement_span(context: _Context, name: str) -> Span:
    span = context.span(name)
    root = context.match.get_root().root()
    return _span(_statement(_node_at(root, span.start, span.end)))


def _top_statement(context: _Context) -> Span:
    node = context.match
    for above in node.ancestors():
        if above.kind() == "module":
            break
        node = above
    return _span(node)


# Conditions: True, False, or None where only a guess is possible


def _holds(context: _Context, condition: Mapping[str, Any]) -> bool | None:
    if len(condition) != 1:
        raise RuleError(f"a condition has one key: {dict(condition)}")
    ((name, argument),) = condition.items()
    check = _CONDITIONS.get(name)
    if check is None:
        raise RuleError(f"unknown condition {name!r}; known are {', '.join(sorted(_CONDITIONS))}")
    return check(context, argument)


def _unchanged(context: _Context, argument: Mapping[str, Any]) -> bool:
    span, region = context.span(argument["of"]), context.span(argument["in"])
    names = _names(context, span)
    if "except" in argument:
        names -= _names(context, context.span(argument["except"]))
    return not context.editor.scope.changes(names, region.start, region.end)


def _names(context: _Context, span: Span) -> set[str]:
    return context.editor.scope.names_in(span.start, span.end)


def _uses(context: _Context, argument: Mapping[str, Any]) -> bool:
    """Whether an expression uses one of the names in another."""
    names = _names(context, context.span(argument["of"]))
    return any(name.split(".")[0] in names or name in names for name in _names(context, context.span(argument["in"])))


def _pure(context: _Context, argument: str) -> bool:
    return rule_scope.is_pure(context.text(argument))


def _type(context: _Context, argument: Mapping[str, Any]) -> bool | None:
    kind = context.editor.scope.kind(context.text(argument["of"]), context.span(argument["of"]).start)
    if kind == "unknown":
        return False if argument.get("known") else None
    return kind in argument["is"]


def _local(context: _Context, argument: str) -> bool:
    name = context.text(argument)
    scope, span = context.editor.scope, context.span(argument)
    return name.isidentifier() and not scope.is_global(name, span.start)


def _unused(context: _Context, argument: Mapping[str, Any]) -> bool:
    region = context.span(argument["in"]) if "in" in argument else _between(context, argument)
    spared = argument.get("except", [])
    allowed = [context.span(name) for name in ([spared] if isinstance(spared, str) else spared)]
    span = context.span(argument["of"])
    scope = context.editor.scope
    names = scope.names_in(span.start, span.end)
    return not any(
        any(use.name == name or use.name.startswith(name + ".") for name in names)
        and not any(a.start <= use.start and use.end <= a.end for a in allowed)
        for use in scope.within(region.start, region.end)
    )


def _between(context: _Context, argument: Mapping[str, Any]) -> Span:
    start = context.span(argument["after"]).end if "after" in argument else context.span("FUNCTION").start
    end = context.span(argument["before"]).start if "before" in argument else context.span("FUNCTION").end
    return Span(start, end)


def _only(context: _Context, argument: Mapping[str, Any]) -> bool:
    """Every appearance of a name in a region is at its own place in one of the given patterns.

    With `whole`, also any other place in a pattern's match that no other variable captures.
    """
    variable = argument["of"].lstrip("$")
    region = context.span(argument.get("in", "FUNCTION"))
    name = context.text(variable)
    allowed: set[int] = set()
    for rule in argument["as"]:
        for node, captured in _matches(context, rule, region):
            if variable in captured:
                allowed.add(captured[variable].start)
            if argument.get("whole"):
                others = [span for other, span in captured.items() if other != variable]
                inside = context.editor.scope.within(*_bounds(node))
                allowed |= {u.start for u in inside if not any(o.start <= u.start < o.end for o in others)}
    uses = (u for u in context.editor.scope.within(region.start, region.end) if u.name.split(".")[0] == name)
    return all(use.start in allowed for use in uses)


def _has(context: _Context, argument: Mapping[str, Any]) -> bool:
    """Whether a region holds a match of a rule, or at least `least` of them."""
    found = _matches(context, argument["rule"], context.span(argument["in"]))
    return sum(1 for _ in found) >= argument.get("least", 1)


def _hashable_parameters(context: _Context, argument: str) -> bool | None:
    start = context.span(argument).start
    function = next((node for begin, _, node in context.editor.scope.functions if begin == start), None)
    return False if function is None else rule_scope.hashable_parameters(function)


def _reads_changing_variables(context: _Context, argument: str) -> bool:
    start = context.span(argument).start
    scope = context.editor.scope
    function = next((node for begin, _, node in scope.functions if begin == start), None)
    return function is None or rule_scope.reads_changing_variables(scope, function)


def _not(context: _Context, argument: Mapping[str, Any]) -> bool | None:
    answer = _holds(context, argument)
    return None if answer is None else not answer


def _any(context: _Context, argument: Sequence[Mapping[str, Any]]) -> bool | None:
    answers = [_holds(context, condition) for condition in argument]
    if True in answers:
        return True
    return None if None in answers else False


def _in_loop(context: _Context, argument: bool) -> bool:
    return ("LOOP" in context.editor.spans) is argument


def _unsure(context: _Context, argument: Any) -> None:
    """Never shown as a hint on save."""
    return None


_CONDITIONS: dict[str, Callable[[_Context, Any], bool | None]] = {
    "in-loop": _in_loop,
    "unchanged": _unchanged,
    "pure": _pure,
    "type": _type,
    "local": _local,
    "unused": _unused,
    "only": _only,
    "has": _has,
    "hashable-parameters": _hashable_parameters,
    "reads-changing-variables": _reads_changing_variables,
    "not": _not,
    "any": _any,
    "unsure": _unsure,
    "uses": _uses,
}


# Newlines


def _plain(text: str) -> tuple[str | None, str]:
    """The text with "\\n" newlines and the newline it uses; None where it mixes them."""
    crlf = text.count("\r\n")
    if text.count("\r") != crlf or (crlf and text.count("\n") != crlf):
        return None, "\n"
    return (text.replace("\r\n", "\n"), "\r\n") if crlf else (text, "\n")


def _at_plain(text: str, at: int) -> int:
    return at - text.count("\r\n", 0, at)
