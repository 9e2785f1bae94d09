"""Same and different, told from data alone."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perforch_core.languages.interface import Case, Observation
from perforch_core.oracle.equivalence import (
    EXACT,
    Kind,
    Tolerance,
    compare,
    difference,
    malformed,
    nudged,
    ulps_between,
)
from perforch_core.values import EnumMember, Record, Special, encode


def seen(*roots: Any, stdout: str = "") -> Observation:
    return Observation(graph=encode(roots), stdout=stdout)


@pytest.mark.parametrize("forged", [7, None, {"nodes": [], "roots": []}, {"nodes": [["list", [9]]], "roots": [0]}])
def test_module_state_that_makes_no_sense_is_a_difference_and_no_error(forged: Any) -> None:
    good = Observation(graph=encode([1]), state={"LOG": encode([[1]])})
    bad = Observation(graph=encode([1]), state={"LOG": forged})
    found = compare(good, bad)
    assert found.kind is Kind.DIFFERENT
    assert found.words == "leaves something unreadable in the module's LOG where [1] is expected"
    compare(bad, good)  # the user's own program is not out to deceive; it must not end the task either


def raw(nodes: Any, roots: Any) -> Observation:
    return Observation(graph={"nodes": nodes, "roots": roots})


ONE = [1]
NAN = float("nan")
DIFFERENT: list[tuple[str, Any, Any, str]] = [
    ("bool for int", 1, True, "bool instead of int"),
    ("float for int", 1, 1.0, "float instead of int"),
    ("nested type", [(1, [2])], [(1, [2.0])], "result[0][1][0]"),
    ("negative zero", 0.0, -0.0, "expected 0.0, got -0.0"),
    ("complex part", complex(1, 0.0), complex(1, -0.0), "complex"),
    ("bytes for str", "a", b"a", "bytes instead of str"),
    ("tuple for list", [1], (1,), "tuple instead of list"),
    ("frozenset for set", {1}, frozenset({1}), "frozenset instead of set"),
    ("bytearray for bytes", b"a", bytearray(b"a"), "bytearray instead of bytes"),
    ("None for empty", [], None, "None instead of list"),
    ("shorter", [1, 2], [1], "1 item instead of 2"),
    ("set item", {1, 2}, {1, 3}, "item 2 is missing"),
    ("set item type", {1}, {True}, "item 1 is missing"),
    ("set item more", {1}, {1, 2}, "item 2 is too many"),
    ("dict order", {"a": 1, "b": 2}, {"b": 2, "a": 1}, "the same keys in another order"),
    ("dict key", {"a": 1}, {"b": 1}, "key 'a' is missing"),
    ("dict value", {"a": [1]}, {"a": [2]}, "result['a'][0]"),
    ("dict key type", {1: "x"}, {1.0: "x"}, "key 1 is missing"),
    ("enum", EnumMember("m.Colour", "RED"), EnumMember("m.Colour", "BLUE"), "Colour.BLUE"),
    ("special", Special("decimal.Decimal", "1.0"), Special("decimal.Decimal", "1.00"), "1.00"),
    ("record type", Record("m.P", (("x", 1),)), Record("m.Q", (("x", 1),)), "Q instead of P"),
    ("record field", Record("m.P", (("x", 1),)), Record("m.P", (("x", 2),)), "result.x"),
    ("record field name", Record("m.P", (("x", 1),)), Record("m.P", (("y", 1),)), "other fields"),
    ("nan against number", NAN, 1.0, "nan"),
    ("one object twice", [ONE, ONE], [[1], [1]], "expected the same object as result[0]"),
    ("two objects", [[1], [1]], [ONE, ONE], "an object of its own"),
    ("huge integer", 1 << 40000, (1 << 40000) + 1, "expected 0x"),
]


@pytest.mark.parametrize(("expected", "actual", "words"), [row[1:] for row in DIFFERENT], ids=[r[0] for r in DIFFERENT])
def test_different_results(expected: Any, actual: Any, words: str) -> None:
    assert words in (difference(seen(expected), seen(actual)) or "no difference")
    assert difference(seen(expected), seen(copy.deepcopy(expected))) is None
    assert difference(seen(actual), seen(copy.deepcopy(actual))) is None


SAME: list[tuple[str, Any, Any]] = [
    ("set order", {3, 1, 2}, {2, 1, 3}),
    ("nan", [NAN, complex(NAN, 1)], [-NAN, complex(NAN, 1)]),
    ("set of tuples", {(1, "a"), (2, "b")}, {(2, "b"), (1, "a")}),
    ("shared immutables", [(1, 2)] * 3, [(1, 2), (1, 2), (1, 2)]),
]


@pytest.mark.parametrize(("expected", "actual"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_same_results(expected: Any, actual: Any) -> None:
    assert difference(seen(expected), seen(actual)) is None


def test_the_order_of_a_set_in_the_wire_does_not_matter() -> None:
    left = raw([["set", [1, 2]], ["int", "1"], ["int", "2"]], [0])
    right = raw([["int", "2"], ["int", "1"], ["set", [0, 1]]], [2])
    assert difference(left, right) is None


def test_subclass_names_count() -> None:
    plain, named = raw([["dict", []]], [0]), raw([["dict", [], "collections.OrderedDict"]], [0])
    assert "OrderedDict" in (difference(plain, named) or "")
    other = raw([["dict", [], "other.OrderedDict"]], [0])
    assert difference(named, other) is not None


def test_changed_arguments_and_aliases_between_result_and_argument() -> None:
    argument = [1, 2]
    assert "argument 1" in (difference(seen(3, [1, 2]), seen(3, [2, 1])) or "")
    assert "items[0]" in (difference(seen(3, [1, 2]), seen(3, [2, 1]), names=["items"]) or "")
    words = difference(seen([1, 2], [1, 2]), seen(argument, argument))
    assert words == "argument 1: expected an object of its own, got the same object as result"
    words = difference(seen(argument, argument), seen([1, 2], [1, 2]))
    assert words == "argument 1: expected the same object as result, got another one"


def test_state_carrying_records_have_an_identity_and_named_tuples_have_none() -> None:
    def pair(state: list[str], *, shared: bool) -> Observation:
        point: list[Any] = ["record", "m.P", [], *state]
        return raw([["list", [1, 1 if shared else 2]], point, point], [0])

    assert difference(pair(["state"], shared=True), pair(["state"], shared=False)) is not None
    assert difference(pair([], shared=True), pair([], shared=False)) is None


def test_cycles() -> None:
    loop: list[Any] = []
    loop.append(loop)
    two: list[Any] = [[]]
    two[0].append(two)
    assert difference(seen(loop), seen(loop)) is None
    assert difference(seen(loop), seen(two)) is not None


def test_exceptions_by_type_and_messages_as_a_note() -> None:
    value, key = Observation(raised=("ValueError", "no")), Observation(raised=("KeyError", "no"))
    other = Observation(raised=("ValueError", "never"))
    assert difference(value, key) == "raised KeyError where ValueError is expected"
    assert difference(value, seen(3)) == "returned 3 where ValueError is expected"
    assert "raised KeyError: no where 3 is expected" in (difference(seen(3), key) or "")
    assert difference(value, other) is None
    assert compare(value, other).notes
    assert difference(value, other, tolerance=Tolerance(messages=True)) is not None


def test_arguments_after_an_exception() -> None:
    before = Observation(raised=("ValueError", ""), graph=encode([None, [1]]))
    after = Observation(raised=("ValueError", ""), graph=encode([None, []]))
    assert "after ValueError, argument 1" in (difference(before, after) or "")


def test_printing_counts() -> None:
    assert "printed 'b'" in (difference(seen(1, stdout="a"), seen(1, stdout="b")) or "")
    assert difference(seen(1, stdout="a"), seen(1, stdout="b"), tolerance=Tolerance(printed=False)) is None


def test_dead_processes() -> None:
    assert "wall time" in (difference(seen(1), Observation(dead="wall time")) or "")
    assert compare(Observation(dead="wall time"), seen(1)).kind is Kind.UNCOMPARABLE


def test_what_has_no_data_form_is_not_called_same() -> None:
    lock = raw([["opaque", "_thread.lock"]], [0])
    assert compare(lock, lock).kind is Kind.UNCOMPARABLE
    assert (difference(lock, lock) or "").startswith("cannot be compared")
    closure = raw([["special", "function", "m.make.<locals>.inner"]], [0])
    assert compare(closure, closure).kind is Kind.UNCOMPARABLE
    function = raw([["special", "function", "m.make"]], [0])
    assert compare(function, function).kind is Kind.SAME


def test_a_real_difference_beside_an_opaque_part_is_found() -> None:
    left = raw([["list", [1, 2]], ["opaque", "t"], ["int", "1"]], [0])
    right = raw([["list", [1, 2]], ["opaque", "t"], ["int", "2"]], [0])
    assert compare(left, right).kind is Kind.DIFFERENT


@pytest.mark.parametrize(
    ("left", "right", "apart"),
    [(1.0, 1.0000000000000002, 1), (0.0, -0.0, 1), (-5e-324, 5e-324, 3), (0.1 + 0.2, 0.3, 1)],
)
def test_units_in_the_last_place(left: float, right: float, apart: int) -> None:
    assert ulps_between(seen([left]), seen([right])) == apart
    assert difference(seen([left]), seen([right]), tolerance=Tolerance(ulps=apart)) is None
    assert difference(seen([left]), seen([right]), tolerance=Tolerance(ulps=apart - 1)) is not None
    assert difference(seen({left}), seen({right}), tolerance=Tolerance(ulps=apart)) is None


def test_no_number_of_ulps_makes_infinity_or_nan_a_number() -> None:
    for odd in (float("inf"), NAN):
        assert difference(seen(odd), seen(1.7e308), tolerance=Tolerance(ulps=1 << 70)) is not None
        assert ulps_between(seen(odd), seen(odd)) == 0
    assert ulps_between(seen([1]), seen([2])) is None


def test_nudged_moves_finite_floats_only() -> None:
    case = Case(arguments=encode([1.0, [float("inf"), 0.0], 3]))
    moved = nudged(case, up=True)
    assert moved is not None
    assert [n[1] for n in moved.arguments["nodes"] if n[0] == "float"] == ["1.0000000000000002", "inf", "0.0"]
    assert nudged(Case(arguments=encode([1, "a"])), up=True) is None


def test_declared_order() -> None:
    items, deep = Tolerance(unordered="items"), Tolerance(unordered="deep")
    assert difference(seen([1, 2]), seen([2, 1])) is not None
    assert difference(seen([1, 2]), seen([2, 1]), tolerance=items) is None
    assert difference(seen([1, 2, 2]), seen([2, 1, 1]), tolerance=items) is not None
    assert difference(seen([[1, 2], [3]]), seen([[3], [2, 1]]), tolerance=items) is not None
    assert difference(seen([[1, 2], [3]]), seen([[3], [2, 1]]), tolerance=deep) is None
    assert difference(seen({"a": [1, 2], "b": [3]}), seen({"b": [3], "a": [2, 1]}), tolerance=deep) is None
    assert difference(seen({"a": [1, 2], "b": [3]}), seen({"b": [3], "a": [2, 9]}), tolerance=deep) is not None
    assert difference(seen({"a": 1, "b": 2}), seen({"b": 2, "a": 1}), tolerance=items) is None
    assert difference(seen({"a": 1, "b": 2}), seen({"b": 1, "a": 2}), tolerance=items) is not None
    assert difference(seen((1, 2)), seen([1, 2]), tolerance=items) is not None
    assert difference(seen([1], [1, 2]), seen([1], [2, 1]), tolerance=items) is not None, "arguments keep their order"


HOSTILE: list[Any] = [
    None,
    [],
    "graph",
    {},
    {"nodes": [], "roots": [0]},
    {"nodes": [["list", [7]]], "roots": [0]},
    {"nodes": [["list", [-1]]], "roots": [0]},
    {"nodes": [["list", [True]]], "roots": [0]},
    {"nodes": [["list", ["0"]]], "roots": [0]},
    {"nodes": [["list"]], "roots": [0]},
    {"nodes": [["list", []]], "roots": [False]},
    {"nodes": [["list", [], 3]], "roots": [0]},
    {"nodes": [["dict", [[0]]]], "roots": [0]},
    {"nodes": [["dict", [0]]], "roots": [0]},
    {"nodes": [["record", "P", [["x"]]]], "roots": [0]},
    {"nodes": [["record", "P", [[0, 0]]]], "roots": [0]},
    {"nodes": [["int", 3]], "roots": [0]},
    {"nodes": [["int", "9" * 10 + "x"]], "roots": [0]},
    {"nodes": [["int", "1", {}]], "roots": [0]},
    {"nodes": [["float", "one"]], "roots": [0]},
    {"nodes": [["float", None]], "roots": [0]},
    {"nodes": [["bool", 2]], "roots": [0]},
    {"nodes": [["bool", "1"]], "roots": [0]},
    {"nodes": [["bytes", "***"]], "roots": [0]},
    {"nodes": [["none", 1]], "roots": [0]},
    {"nodes": [[]], "roots": [0]},
    {"nodes": [[["list"], []]], "roots": [0]},
    {"nodes": [{"list": []}], "roots": [0]},
    {"nodes": [["spam", "x"]], "roots": [0]},
    {"nodes": [["enum", "E"]], "roots": [0]},
    {"nodes": [["complex", "1", "j"]], "roots": [0]},
    {"nodes": [["none"]], "roots": []},
    {"nodes": [["none"]], "roots": [0, 0, 0]},
    {"nodes": [["special", "range", "\0leave"]], "roots": [0]},
]


@pytest.mark.parametrize("graph", HOSTILE, ids=[str(number) for number in range(len(HOSTILE))])
def test_hostile_graphs_are_differences(graph: Any) -> None:
    for expected in (seen([1, 2]), seen({"a": (1.0, {2})}, [1]), Observation(raised=("ValueError", "x"))):
        found = compare(expected, Observation(graph=graph))
        assert found.kind is Kind.DIFFERENT, found
        assert compare(Observation(graph=graph), expected).kind is not Kind.SAME


def test_hostile_shapes_take_linear_work() -> None:
    size = 30_000
    ladder: list[Any] = [["tuple", [i + 1, i + 1]] for i in range(size)] + [["none"]]
    assert difference(raw(ladder, [0]), raw(copy.deepcopy(ladder), [0])) is None
    # the same ladder with no sharing between even and odd steps: still each pair once
    other: list[Any] = [["tuple", [i + 2 - i % 2, i + 2 - i % 2]] for i in range(size)] + [["none"], ["none"]]
    assert compare(raw(ladder, [0]), raw(other, [0])).kind in (Kind.SAME, Kind.DIFFERENT)
    ring: list[Any] = [["tuple", [(i + 1) % size]] for i in range(size)]
    bag = [*ring, ["set", list(range(size))]]
    assert compare(raw(bag, [size]), raw(copy.deepcopy(bag), [size])).kind is Kind.UNCOMPARABLE
    deep: list[Any] = [["list", [i + 1]] for i in range(size)] + [["int", "1"]]
    changed = [*deep[:-1], ["int", "2"]]
    words = difference(raw(deep, [0]), raw(changed, [0]))
    assert words is not None and len(words) < 1000


plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5)
hashable = st.recursive(
    plain | st.floats(allow_nan=False),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashable | st.floats() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.builds(lambda a, b: Record("m.P", (("x", a), ("y", b))), inner, inner)
    ),
    max_leaves=10,
)


@given(values, values)
@settings(max_examples=150, deadline=None)
def test_equal_only_to_itself(value: Any, other: Any) -> None:
    wire = encode([value])
    assert malformed(wire) is None
    again = json.loads(json.dumps(wire))
    assert difference(Observation(graph=wire), Observation(graph=again)) is None
    if repr(value) != repr(other):
        forward = difference(seen(value), seen(other)) is None
        assert forward == (difference(seen(other), seen(value)) is None)


def _changes(wire: Any) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for number, node in enumerate(wire["nodes"]):
        match node[0]:
            case "int":
                found.append((number, ["int", str(int(node[1], 0) + 1)]))
            case "str":
                found.append((number, ["str", node[1] + "!"]))
            case "bool":
                found += [(number, ["bool", 1 - node[1]]), (number, ["int", str(node[1])])]
            case "none":
                found.append((number, ["bool", 0]))
            case "float":
                found.append((number, ["float", "12345.5"]))
            case "list" | "tuple" if node[1]:
                found.append((number, [node[0], node[1][:-1]]))
            case "list":
                found += [(number, ["tuple", []]), (number, ["list", [], "m.Mine"])]
            case "dict" if node[1]:
                found.append((number, ["dict", node[1][1:]]))
            case "dict" | "set":
                found.append((number, ["list", []]))
    return found


@given(values, st.data())
@settings(max_examples=200, deadline=None)
def test_any_single_change_is_a_difference(value: Any, data: st.DataObject) -> None:
    wire = encode([value])
    changes = _changes(wire)
    if not changes:
        return
    number, node = data.draw(st.sampled_from(changes))
    if node == wire["nodes"][number]:
        return
    changed = copy.deepcopy(wire)
    changed["nodes"][number] = node
    assert difference(Observation(graph=wire), Observation(graph=changed), tolerance=EXACT) is not None
