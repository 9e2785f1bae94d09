"""Counterexamples made small, and told as source text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perforch_core.languages.interface import Case, CaseType, Observation, Parameter, Signature
from perforch_core.oracle.shrink import argument_names, call_text, counterexample, shrink
from perforch_core.values import EnumMember, Record, encode, source_text

INT, STR = CaseType(kind="int"), CaseType(kind="str")
INTS = CaseType(kind="list", args=(INT,))
PAIR = CaseType(kind="tuple", args=(INT, INT))


def signature(*types: CaseType, **options: Any) -> Signature:
    return Signature(
        parameters=tuple(Parameter(name=n, type=t) for n, t in zip("abcd", types, strict=False)), **options
    )


def texts(case: Case) -> list[str]:
    return [source_text(case.arguments, root) for root in case.arguments["roots"]]


SHRUNK: list[tuple[str, list[CaseType], list[Any], Callable[..., bool], list[str]]] = [
    ("two equal items", [INTS], [[5, 3, 8, 3, 9]], lambda a: len(set(a)) < len(a), ["[0, 0]"]),
    ("a long list", [INTS], [[*range(200)]], lambda a: len(a) >= 9, ["[0, 0, 0, 0, 0, 0, 0, 0, 0]"]),
    ("a bound", [INT], [123456], lambda a: a > 37, ["38"]),
    ("a negative bound", [INT], [-90], lambda a: a < -5, ["-6"]),
    ("a huge number", [INT], [10**40], lambda a: a > 2**63, [str(2**63 + 1)]),
    ("a text", [STR], ["hello world"], lambda a: "o" in a, ["'o'"]),
    ("any letters", [STR], ["hello"], lambda a: len(a) >= 2, ["'aa'"]),
    ("a pair keeps its length", [PAIR], [(7, 9)], lambda a: a[1] > 3, ["(0, 4)"]),
    ("a float", [CaseType(kind="float")], [17.123], lambda a: a > 2, ["3.0"]),
    ("an optional", [CaseType(kind="optional", args=(INT,)), INT], [4, 3], lambda a, b: b == 3, ["None", "3"]),
    ("a dict", [CaseType(kind="dict", args=(STR, INT))], [{"x": 1, "y": 2}], lambda a: 2 in a.values(), ["{'': 2}"]),
    ("a flag", [CaseType(kind="bool"), INT], [True, 3], lambda a, b: True, ["False", "0"]),
    ("nothing smaller", [INT], [0], lambda a: True, ["0"]),
]


@pytest.mark.parametrize(("types", "values", "holds", "smallest"), [r[1:] for r in SHRUNK], ids=[r[0] for r in SHRUNK])
async def test_smallest_input(
    types: list[CaseType], values: list[Any], holds: Callable[..., bool], smallest: list[str]
) -> None:
    asked = 0

    async def differs(case: Case) -> bool:
        nonlocal asked
        asked += 1
        return holds(*map(eval, texts(case)))

    found = await shrink(Case(arguments=encode(values)), differs, signature=signature(*types), seconds=30)
    assert texts(found) == smallest
    assert asked < 3000


async def test_literals_enums_and_fields_keep_their_values() -> None:
    kinds = [
        CaseType(kind="literal", values=(encode(["up"]),)),
        CaseType(kind="enum", name="m.C", members=("A",)),
        CaseType(kind="record", name="m.P", fields=(("x", INT),)),
    ]
    case = Case(arguments=encode(["up", EnumMember("m.C", "A"), Record("m.P", (("x", 9),))]))

    async def differs(case: Case) -> bool:
        return True

    assert texts(await shrink(case, differs, signature=signature(*kinds), seconds=10)) == ["'up'", "C.A", "P(x=0)"]


async def test_arguments_that_may_be_left_out_go() -> None:
    parameters = (
        Parameter(name="a", type=INT),
        Parameter(name="b", type=INT, has_default=True),
        Parameter(name="rest", type=INT, kind="variadic"),
        Parameter(name="key", type=INT, kind="keyword", has_default=True),
    )
    case = Case(arguments=encode([1, 2, 3, 4, 5]), keywords=("key",))

    async def differs(case: Case) -> bool:
        return True

    found = await shrink(case, differs, signature=Signature(parameters=parameters), seconds=10)
    assert (texts(found), found.keywords) == (["0"], ())


async def test_an_alias_stays_only_where_it_matters() -> None:
    shared = [1, 2]
    case = Case(arguments=encode([shared, shared]))

    async def only_aliased(case: Case) -> bool:
        return len(set(case.arguments["roots"])) == 1

    async def always(case: Case) -> bool:
        return True

    found = await shrink(case, only_aliased, signature=signature(INTS, INTS), seconds=10)
    assert call_text("f", found) == "a = []; f(a, a)"
    found = await shrink(case, always, signature=signature(INTS, INTS), seconds=10)
    assert call_text("f", found) == "f([], [])"


async def test_time_is_kept() -> None:
    async def differs(case: Case) -> bool:
        return True

    case = Case(arguments=encode([[*range(50)]]))
    assert texts(await shrink(case, differs, signature=signature(INTS), seconds=0)) == texts(case)


def test_calls_as_text() -> None:
    parameters = (Parameter(name="text", type=STR), Parameter(name="rest", type=INT, kind="variadic"))
    receiver = CaseType(kind="record", name="app.Cart")
    method = Signature(parameters=parameters, receiver=receiver)
    case = Case(arguments=encode([Record("app.Cart", (("n", 1),)), "x", 2, 3, True]), keywords=("loud",))
    assert call_text("Cart.add", case, signature=method) == "Cart(n=1).add('x', 2, 3, loud=True)"
    assert argument_names(method, case) == ["self", "text", "rest[0]", "rest[1]", "loud"]


def test_counterexamples_as_text() -> None:
    case = Case(arguments=encode([[1, 1]]))
    good, bad = Observation(graph=encode([[1], [1, 1]])), Observation(graph=encode([[1, 1], [1, 1]]))
    found = counterexample("dedupe", case, good, bad, "result: other")
    assert (found.call, found.expected, found.actual) == ("dedupe([1, 1])", "[1]", "[1, 1]")
    failed = Observation(raised=("app.Oops", "no"), traceback="line 3")
    found = counterexample("dedupe", case, good, failed, "raised")
    assert (found.actual, found.traceback) == ("Oops: no", "line 3")
    changed = Observation(graph=encode([[1], [1]]))
    assert counterexample("f", case, good, changed, "argument 1 differs").actual == "[1], but argument 1 differs"
    assert counterexample("f", case, good, Observation(dead="wall time"), "").actual == "no answer: wall time"


async def test_the_private_fields_of_a_captured_object_are_left_alone() -> None:
    """A smaller map beside an unchanged list would be a state that no program ever reaches."""
    nodes = [["record", "a.Index", [["_map", 1], ["items", 2]], "state"], ["int", "9"], ["int", "5"], ["int", "70"]]
    case = Case(arguments={"nodes": nodes, "roots": [0, 3]}, origin="captured")
    signature = Signature(
        parameters=(Parameter(name="n", type=CaseType(kind="int")),), receiver=CaseType(kind="record", name="a.Index")
    )

    async def differs(_: Case) -> bool:
        return True

    small = await shrink(case, differs, signature=signature, seconds=5)
    assert source_text(small.arguments, small.arguments["roots"][0]) == "Index(_map=9, items=5)"
    assert source_text(small.arguments, small.arguments["roots"][1]) == "0"
