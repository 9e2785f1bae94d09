"""Generated cases: deterministic, well formed, of the declared types, and telling."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from perforch_core.languages.interface import Case, CaseType, Observation, Parameter, Signature
from perforch_core.oracle import generate
from perforch_core.oracle.equivalence import malformed
from perforch_core.oracle.generate import case_size, generate_cases, informative
from perforch_core.oracle.guess import guess_types, infer_type, source_constants
from perforch_core.values import EnumMember, Record, Special, encode, source_text

INT, STR, FLOAT, BOOL, ANY = (CaseType(kind=kind) for kind in ("int", "str", "float", "bool", "any"))


def list_of(part: CaseType) -> CaseType:
    return CaseType(kind="list", args=(part,))


def dict_of(key: CaseType, value: CaseType) -> CaseType:
    return CaseType(kind="dict", args=(key, value))


def signature(*types: CaseType, names: str = "abcdef", **options: Any) -> Signature:
    return Signature(parameters=tuple(Parameter(name=n, type=t) for n, t in zip(names, types, strict=False)), **options)


def shown(case: Case) -> tuple[str, ...]:
    return tuple(source_text(case.arguments, root, limit=100_000) for root in case.arguments["roots"])


POINT = CaseType(kind="record", name="m.Point", fields=(("x", INT), ("y", FLOAT)))
TYPES: dict[str, CaseType] = {
    "int": INT,
    "float": FLOAT,
    "complex": CaseType(kind="complex"),
    "str": STR,
    "bytes": CaseType(kind="bytes"),
    "none": CaseType(kind="none"),
    "list": list_of(INT),
    "list of lists": list_of(list_of(INT)),
    "list of strings": list_of(STR),
    "list of pairs": list_of(CaseType(kind="tuple", args=(INT, INT))),
    "tuple": CaseType(kind="tuple", args=(INT, STR)),
    "variadic tuple": CaseType(kind="tuple", args=(INT,), variadic=True),
    "set": CaseType(kind="set", args=(STR,)),
    "frozenset": CaseType(kind="frozenset", args=(INT,)),
    "dict": dict_of(STR, INT),
    "graph": dict_of(INT, list_of(INT)),
    "optional": CaseType(kind="optional", args=(STR,)),
    "union": CaseType(kind="union", args=(INT, STR)),
    "enum": CaseType(kind="enum", name="m.Colour", members=("RED", "BLUE")),
    "record": POINT,
    "list of records": list_of(POINT),
    "literal": CaseType(kind="literal", values=(encode(["up"]), encode([3]))),
    "iterator": CaseType(kind="iterator", args=(INT,)),
    "callable": CaseType(kind="callable"),
    "decimal": CaseType(kind="opaque", name="decimal.Decimal"),
    "array": CaseType(kind="opaque", name="numpy.ndarray"),
    "any": ANY,
}


def conforms(nodes: list[Any], index: int, kind: CaseType) -> bool:
    node = nodes[index]
    match kind.kind:
        case "any" | "callable":
            return True
        case "optional":
            return node[0] == "none" or conforms(nodes, index, kind.args[0])
        case "union":
            return any(conforms(nodes, index, part) for part in kind.args)
        case "literal":
            return any(node == wire["nodes"][0] for wire in kind.values)
        case "record":
            pairs = zip(node[2], kind.fields, strict=True)
            return node[0] == "record" and all(n == m and conforms(nodes, i, k) for (n, i), (m, k) in pairs)
        case "dict":
            key, value = kind.args
            return node[0] == "dict" and all(conforms(nodes, k, key) and conforms(nodes, v, value) for k, v in node[1])
        case "tuple" if not kind.variadic:
            return node[0] == "tuple" and all(conforms(nodes, i, k) for i, k in zip(node[1], kind.args, strict=True))
        case "list" | "set" | "frozenset" | "iterator" | "tuple":
            return node[0] == kind.kind and all(conforms(nodes, i, kind.args[0]) for i in node[1])
        case "enum":
            return node[0] == "enum" and node[2] in kind.members
        case "opaque":
            return node[:2] == ["special", kind.name]
    return bool(node[0] == kind.kind)


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES.keys())
def test_cases_are_of_their_type_different_and_the_same_every_time(kind: CaseType) -> None:
    cases = generate_cases(signature(kind), count=40, seed=5)
    assert cases
    for case in cases:
        assert malformed(case.arguments) is None
        assert conforms(case.arguments["nodes"], case.arguments["roots"][0], kind), shown(case)
        assert case.size == case_size(case.arguments)
    assert len({str(case.arguments) for case in cases}) == len(cases)
    assert cases == generate_cases(signature(kind), count=40, seed=5)


def test_another_seed_gives_other_cases() -> None:
    assert generate_cases(signature(list_of(INT)), count=40, seed=1) != generate_cases(
        signature(list_of(INT)), count=40, seed=2
    )


@pytest.mark.slow
def test_cases_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    program = (
        "from perforch_core.languages.interface import *\n"
        "from perforch_core.oracle.generate import generate_cases\n"
        "s = CaseType(kind='set', args=(CaseType(kind='str'),))\n"
        "print(generate_cases(Signature(parameters=(Parameter(name='a', type=s),)), count=60, seed=3))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


TELLING: list[tuple[str, Signature, Callable[[Any], bool]]] = [
    ("the empty list", signature(list_of(INT)), lambda a: a == "[]"),
    ("equal neighbours", signature(list_of(INT)), lambda a: len(v := eval(a)) > 1 and len(set(v)) < len(v)),
    ("sorted", signature(list_of(INT)), lambda a: len(v := eval(a)) > 3 and v == sorted(v)),
    ("falling", signature(list_of(INT)), lambda a: len(v := eval(a)) > 3 and v == sorted(v)[::-1]),
    ("long", signature(list_of(INT)), lambda a: len(eval(a)) >= 50),
    ("beyond 64 bits", signature(list_of(INT)), lambda a: any(abs(n) > 2**64 for n in eval(a))),
    ("negative zero", signature(FLOAT), lambda a: a == "-0.0"),
    ("nan", signature(list_of(FLOAT)), lambda a: "nan" in a),
    ("a combining accent", signature(STR), lambda a: "\u0301" in a),
    ("beyond the basic plane", signature(STR), lambda a: any(ord(c) > 0xFFFF for c in a)),
    ("a square", signature(list_of(list_of(INT))), lambda a: len(v := eval(a)) > 1 and {*map(len, v)} == {len(v)}),
    (
        "neighbours that are keys",
        signature(dict_of(INT, list_of(INT))),
        lambda a: any((v := eval(a)).values()) and all(n in v for row in v.values() for n in row),
    ),
]


@pytest.mark.parametrize(("what", "holds"), [(s, h) for _, s, h in TELLING], ids=[row[0] for row in TELLING])
def test_telling_values_occur(what: Signature, holds: Callable[[Any], bool]) -> None:
    assert any(holds(shown(case)[0]) for case in generate_cases(what, count=150, seed=0))


def test_an_argument_is_often_part_of_another() -> None:
    cases = [tuple(map(eval, shown(c))) for c in generate_cases(signature(list_of(INT), INT), count=100, seed=0)]
    assert sum(x in xs for xs, x in cases) > 15
    texts = [tuple(map(eval, shown(c))) for c in generate_cases(signature(STR, STR), count=100, seed=0)]
    assert sum(len(b) > 1 and b in a for a, b in texts) > 10


def test_one_object_as_two_arguments() -> None:
    cases = generate_cases(signature(list_of(INT), list_of(INT)), count=60, seed=0)
    assert any(len(set(case.arguments["roots"])) == 1 for case in cases)
    rows = generate_cases(signature(list_of(list_of(INT))), count=60, seed=0)
    shared = [c for c in rows if (top := c.arguments["nodes"][c.arguments["roots"][0]][1]) and len(set(top)) < len(top)]
    assert 0 < len(shared) < 20, "some rows are one object, most are not"


def test_literals_of_the_source_are_used() -> None:
    cases = generate_cases(signature(STR, INT), count=80, seed=0, constants=["ftp://", 4711])
    assert sum("ftp://" in shown(c)[0] for c in cases) > 5
    assert {"4710", "4711", "4712"} <= {shown(c)[1] for c in cases}


def test_optional_keyword_and_variadic_arguments() -> None:
    parameters = (
        Parameter(name="first", type=INT),
        Parameter(name="second", type=INT, has_default=True),
        Parameter(name="rest", type=STR, kind="variadic"),
        Parameter(name="key", type=BOOL, kind="keyword", has_default=True),
        Parameter(name="must", type=BOOL, kind="keyword"),
        Parameter(name="others", type=ANY, kind="keywords"),
    )
    cases = generate_cases(Signature(parameters=parameters), count=80, seed=0)
    assert {case.keywords for case in cases} == {("key", "must"), ("must",)}
    given = {len(case.arguments["roots"]) - len(case.keywords) for case in cases}
    assert given >= {1, 2, 3, 4}
    for case in cases:
        tags = [case.arguments["nodes"][root][0] for root in case.arguments["roots"]]
        positional = tags[: len(tags) - len(case.keywords)]
        assert positional[:2] in (["int"], ["int", "int"]) and set(positional[2:]) <= {"str"}


def test_what_no_value_can_be_made_for() -> None:
    socket = CaseType(kind="opaque", name="socket.socket")
    assert generate_cases(signature(socket), count=10, seed=0) == []
    optional = Signature(parameters=(Parameter(name="a", type=socket, has_default=True), Parameter(name="b", type=INT)))
    assert {case.keywords for case in generate_cases(optional, count=10, seed=0)} == {("b",)}
    assert generate_cases(signature(INT, problem="nested function"), count=10, seed=0) == []
    assert len(generate_cases(signature(), count=10, seed=0)) == 1


def test_samples_teach_types_and_are_perturbed() -> None:
    samples = [Case(arguments=encode([[(1, "x")], {"k": 2.5}])), Case(arguments=encode([[], {}]))]
    cases = generate_cases(signature(ANY, ANY), count=80, seed=0, samples=samples)
    kinds = (list_of(CaseType(kind="tuple", args=(INT, STR))), dict_of(STR, FLOAT))
    for case in cases:
        for root, kind in zip(case.arguments["roots"], kinds, strict=True):
            assert conforms(case.arguments["nodes"], root, kind), shown(case)
    assert all(case.arguments not in [s.arguments for s in samples] for case in cases)


def test_samples_of_values_that_cannot_be_made_are_perturbed_around_them() -> None:
    wire = {"nodes": [["record", "m.Socket", [["port", 1]], "state"], ["int", "80"], ["int", "7"]], "roots": [0, 2]}
    socket = CaseType(kind="opaque", name="m.Socket")
    cases = generate_cases(signature(socket, INT), count=10, seed=0, samples=[Case(arguments=wire)])  # type: ignore[arg-type]
    assert len(cases) == 10
    assert all(case.arguments["nodes"][0][0] == "record" for case in cases)


def test_a_receiver_comes_first() -> None:
    cases = generate_cases(signature(STR, receiver=POINT), count=20, seed=0)
    assert all(case.arguments["nodes"][case.arguments["roots"][0]][:2] == ["record", "m.Point"] for case in cases)


INFERRED: list[tuple[list[Any], CaseType]] = [
    ([1, 2], INT),
    ([1, None], CaseType(kind="optional", args=(INT,))),
    ([[], [1]], list_of(INT)),
    ([[1], ["a"]], list_of(CaseType(kind="union", args=(INT, STR)))),
    ([(1, 2), (3, 4)], CaseType(kind="tuple", args=(INT, INT))),
    ([(1,), (3, 4)], CaseType(kind="tuple", args=(INT,), variadic=True)),
    ([{"a": [1]}, {}], dict_of(STR, list_of(INT))),
    ([1, "a", 2], CaseType(kind="union", args=(INT, STR))),
    ([Special("decimal.Decimal", "1")], CaseType(kind="opaque", name="decimal.Decimal")),
    (
        [EnumMember("m.C", "A"), EnumMember("m.C", "B")],
        CaseType(kind="enum", name="m.C", members=("A", "B")),
    ),
    ([Record("m.P", (("x", 1),))], CaseType(kind="record", name="m.P", fields=(("x", INT),))),
    ([], ANY),
]


@pytest.mark.parametrize(("values", "kind"), INFERRED, ids=[str(row[0])[:30] for row in INFERRED])
def test_types_learnt_from_values(values: list[Any], kind: CaseType) -> None:
    wires = [encode([value]) for value in values]
    assert infer_type((wire, wire["roots"][0]) for wire in wires) == kind


def test_a_cyclic_value_has_a_type() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert infer_type([(encode([loop]), 0)]).kind == "list"


GUESSED: list[tuple[str, str, CaseType]] = [
    ("text method", "def f(a):\n    return a.strip().lower()", STR),
    ("range", "def f(a):\n    return [i for i in range(a)]", INT),
    ("sum", "def f(a):\n    return sum(a)", list_of(INT)),
    ("matrix", "def f(a):\n    return a[0][1]", list_of(list_of(INT))),
    ("words", "def f(a):\n    return [w.upper() for w in a]", list_of(STR)),
    ("table", "def f(a):\n    return a['key'] + 1", dict_of(STR, INT)),
    ("pairs", "def f(a):\n    for x, y in a:\n        print(x, y)", list_of(CaseType(kind="tuple", args=(INT, INT)))),
    ("default", "def f(a=0.5):\n    return a", FLOAT),
    ("modulo", "def f(a):\n    return a % 2 == 0", INT),
    ("name", "def f(text):\n    return text", STR),
    ("indented", "    def f(self, a):\n        return a.split(',')", STR),
    ("does not parse", "fn f(words) {}", list_of(STR)),
]


@pytest.mark.parametrize(("source", "kind"), [row[1:] for row in GUESSED], ids=[row[0] for row in GUESSED])
def test_types_guessed_from_the_source(source: str, kind: CaseType) -> None:
    name = next(n for n in ("text", "words", "a") if f"({n}" in source or f" {n})" in source)
    guesses = guess_types(signature(ANY, names=[name]), source)  # type: ignore[arg-type]
    assert guesses[0].parameters[0].type == kind
    assert 1 < len(guesses) == len(set(guesses)) <= 6


def test_declared_types_are_not_guessed() -> None:
    declared = signature(INT, STR)
    assert guess_types(declared, "def f(a, b): ...") == [declared]


def test_constants_of_a_source() -> None:
    source = 'def f(a):\n    """Not 99."""\n    if a == -3 or a > 1.5:\n        return "x" if True else b"y"\n'
    assert set(map(repr, source_constants(source))) == {"3", "-3", "1.5", "'x'", "b'y'"}
    assert source_constants("fn f() {") == []


def test_informative_keeps_mostly_what_returns() -> None:
    good = Observation(graph=encode([1]))
    value, key = Observation(raised=("ValueError", "")), Observation(raised=("KeyError", ""))
    seen = [good] * 8 + [value] * 10 + [key] + [Observation(dead="wall time")]
    kept = informative([Case(arguments=encode([i])) for i in range(len(seen))], seen)
    assert kept[:8] == list(range(8))
    assert sorted(kept[8:]) == [8, 18], "one of each exception, no dead one"
    assert informative([Case(arguments=encode([]))] * 2, [value, value]) == [0, 1]


def test_some_inputs_are_large_with_many_unlike_items() -> None:
    """A cut-off at 50 items, or a table of few sizes, must have an input to fail on, whatever the samples look like."""
    words = CaseType(kind="list", args=(CaseType(kind="str"),))
    signature = Signature(parameters=(Parameter(name="words", type=words),))
    sample = Case(arguments=encode([["b", "a", "b"]]), origin="captured")
    cases = generate_cases(signature, count=200, seed=1, samples=[sample])
    unlike = [
        len({case.arguments["nodes"][i][1] for i in case.arguments["nodes"][case.arguments["roots"][0]][1]})
        for case in cases
    ]
    assert sum(n > 50 for n in unlike) >= 3


def test_parts_without_boundary_values_leave_the_others() -> None:
    nothing = CaseType(kind="opaque", name="socket.socket")
    holders = [
        CaseType(kind="list", args=(nothing,)),
        CaseType(kind="dict", args=(CaseType(kind="str"), nothing)),
        CaseType(kind="tuple", args=(CaseType(kind="int"), nothing)),
        CaseType(kind="optional", args=(nothing,)),
    ]
    assert [generate._boundaries(kind, generate._Pool()) for kind in holders] == [[[]], [{}], [], [None]]


def test_large_values_are_made_of_items_of_their_own_kind() -> None:
    either = CaseType(kind="union", args=(CaseType(kind="list", args=(INT,)), CaseType(kind="dict", args=(STR, INT))))
    made = generate_cases(Signature(parameters=(Parameter(name="x", type=either),)), count=200, seed=3)
    assert {case.arguments["nodes"][case.arguments["roots"][0]][0] for case in made} == {"list", "dict"}


def test_the_inside_of_captured_objects_is_left_as_it_was() -> None:
    inside = Record("m.Indexed", (("_version", 3), ("items", ["a", "b"]), ("places", {"a": 0, "b": 1})))
    wire = encode([inside, 70])
    sample = Case(arguments=wire, origin="captured")
    signature = Signature(
        parameters=(Parameter(name="x", type=INT),), receiver=CaseType(kind="opaque", name="m.Indexed")
    )
    made = generate_cases(signature, count=30, seed=1, samples=[sample])
    assert len(made) > 5
    receivers = {source_text(case.arguments, case.arguments["roots"][0]) for case in made}
    assert receivers == {source_text(wire, wire["roots"][0])}
