"""Inputs of a size from types and samples, and growing them on real programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from small_driver import case, starter

from perforch_core.languages.interface import Case, CaseType, Parameter, Signature
from perforch_core.measure.sizes import BOUNDED, CLOSE, SHAPES, STYLES, Unsuitable, sized_cases
from perforch_core.measure.workload import NoWorkload, given, grow, maker


def kind(what: str, *args: CaseType, **more: Any) -> CaseType:
    return CaseType(kind=what, args=args, **more)


def signature(*types: CaseType) -> Signature:
    return Signature(parameters=tuple(Parameter(name=f"p{i}", type=t) for i, t in enumerate(types)))


INT, STR, FLOAT = kind("int"), kind("str"), kind("float")
NONE = Signature(parameters=())


def plain(made: Case) -> list[Any]:
    """The arguments as JSON-like data; sets and dicts as lists."""
    nodes = made.arguments["nodes"]

    def value(i: int) -> Any:
        tag, *rest = nodes[i]
        match tag:
            case "int":
                return int(rest[0])
            case "float":
                return float(rest[0])
            case "list" | "tuple" | "set" | "frozenset":
                return [value(j) for j in rest[0]]
            case "dict":
                return [[value(k), value(v)] for k, v in rest[0]]
            case "record":
                return [value(j) for _, j in rest[1]]
        return rest[0] if rest else None

    return [value(root) for root in made.arguments["roots"]]


def one(sig: Signature, n: int = 50, samples: tuple[Case, ...] = (), **more: Any) -> list[Any]:
    return plain(sized_cases(sig, n=n, count=1, seed=3, samples=samples, **more)[0])


@pytest.mark.parametrize("n", [1, 4, 1000])
@pytest.mark.parametrize("type_", [
    kind("list", INT), kind("list", STR), kind("dict", STR, INT), kind("set", INT), STR, kind("bytes"),
    kind("list", kind("tuple", INT, STR)), kind("tuple", FLOAT, variadic=True), kind("any"),
    kind("list", kind("record", name="m.P", fields=(("a", INT), ("b", STR)))), kind("optional", kind("list", INT)),
])  # fmt: skip
def test_containers_get_the_wanted_size(type_: CaseType, n: int) -> None:
    (value,) = one(signature(type_), n)
    if type_.kind != "bytes":
        assert len(value) == n
    assert sized_cases(signature(type_), n=n, count=1, seed=3)[0].size == n


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others() -> None:
    sig = signature(kind("list", INT))
    assert sized_cases(sig, n=20, count=3, seed=1) == sized_cases(sig, n=20, count=3, seed=1)
    assert sized_cases(sig, n=20, count=3, seed=1) != sized_cases(sig, n=20, count=3, seed=2)
    texts = {json.dumps(c.arguments) for c in sized_cases(sig, n=20, count=30, seed=1)}
    assert len(texts) == 30


def test_the_value_grows_in_a_function_of_one_int() -> None:
    values = [plain(c)[0] for c in sized_cases(signature(INT), n=1000, count=20, seed=1)]
    assert all(875 <= v <= 1000 for v in values) and len(set(values)) > 10


def test_sorted_samples_stay_sorted_and_the_scalar_is_an_item() -> None:
    samples = (case([1, 3, 5, 9], 5), case([2, 4, 8, 16], 4), case([0, 7, 9, 11], 11))
    for style in range(STYLES):
        for shape in SHAPES:
            items, wanted = one(NONE, 200, samples, style=style, shape=shape)
            assert items == sorted(items) and wanted in items and len(items) >= 12
    items, wanted = one(NONE, 200, samples, shape="early exit")
    assert wanted == items[0]


def test_one_sorted_pair_proves_nothing() -> None:
    items, _ = one(NONE, 100, (case([1, 5, 7], 3.5),))
    assert items != sorted(items)


def test_index_arguments_stay_within_the_list() -> None:
    samples = (case(["x", "y", "z"], 2), case(["q", "r", "s", "t"], 0))
    for seed in range(20):
        items, index = plain(sized_cases(NONE, n=30, count=1, seed=seed, samples=samples)[0])
        assert 0 <= index < len(items)


def test_graphs_name_their_own_keys() -> None:
    graph, start = one(NONE, 60, (case({"a": ["b", "c"], "b": ["c"], "c": []}, "a"),))
    keys = {k for k, _ in graph}
    assert len(keys) == 60 and start in keys
    assert all(item in keys for _, edges in graph for item in edges) and any(edges for _, edges in graph)


def test_equal_lengths_matrices_alphabets_and_pairs_keep_their_form() -> None:
    left, right = one(NONE, 77, (case([1.5, 0.5], [2.0, 1.0]), case([1.0, 4.0, 2.0], [0.5, 1.0, 0.25])))
    assert len(left) == len(right) == 77 and all(0.5 <= v <= 4.0 for v in left)
    (matrix,) = one(NONE, 100, (case([[3, 1, 2], [2, 1, 0], [5, 6, 4]]), case([[1, 0], [0, 7]])))
    assert [len(row) for row in matrix] == [10] * 10
    (text,) = one(NONE, 300, (case("([])"), case("()")))
    assert set(text) == set("([])") and len(text) == 300
    (pairs,) = one(NONE, 40, (case([("a", 1), ("b", 2)]), case([("c", 9)])))
    assert len(pairs) == 40 and all(isinstance(k, str) and isinstance(v, int) for k, v in pairs)


def test_few_distinct_items_stay_few() -> None:
    (items,) = one(NONE, 1000, (case([1, 1, 2, 2, 1, 1, 2, 1, 2, 2]),))
    assert len(set(items)) < 400
    (items,) = one(signature(kind("list", INT)), 1000, shape="duplicates")
    assert len(set(items)) < 100


def test_types_go_before_generated_samples_until_the_original_does_not_like_them() -> None:
    sig = signature(kind("list", INT))
    odd = (Case(arguments=case([1 << 70, -5]).arguments), Case(arguments=case([0]).arguments))
    (free,), (faithful,) = one(sig, 50, odd), one(sig, 50, odd, style=1)
    assert all(0 <= v < 10_000 for v in free)
    assert any(v > 1 << 40 for v in faithful)
    (bare,) = one(signature(kind("list")), 50, odd)
    assert any(v > 1 << 40 for v in bare)


def test_types_that_cannot_be_made_say_so() -> None:
    with pytest.raises(Unsuitable, match="socket"):
        sized_cases(signature(kind("opaque", name="socket.socket")), n=4, count=1, seed=0)
    with pytest.raises(Unsuitable, match="nested"):
        sized_cases(Signature(parameters=(), problem="nested function"), n=4, count=1, seed=0)


QUADRATIC = "def f(items):\n    return [x for i, x in enumerate(items) if x not in items[:i]]\n"


@pytest.mark.slow
async def test_sizes_grow_until_a_call_takes_long_enough() -> None:
    workload = await grow(starter(QUADRATIC), maker(signature(kind("list", INT))))
    names = {s.name: s for s in workload}
    assert names["tiny"].n == 4 and {"typical", "large", "duplicates"} <= set(names)
    assert 200 <= names["large"].n <= 10_000
    assert len({s.n for s in workload if s.sized and s.n * 10 >= names["large"].n}) >= 3
    assert len(plain(names["large"].make(1, 2)[0])[0]) == names["large"].n
    assert names["large"].make(1, 2) != names["large"].make(2, 2)


@pytest.mark.slow
async def test_an_exponential_function_gets_a_size_in_between_and_never_hangs() -> None:
    fib = "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n"
    workload = await grow(starter(fib), maker(signature(INT)))
    assert 14 <= max(s.n for s in workload) <= 28


@pytest.mark.slow
async def test_sizes_on_which_the_original_raises_are_left_out() -> None:
    small = "def f(items):\n    if len(items) > 100: raise ValueError('too many')\n    return sum(items)\n"
    workload = await grow(starter(small), maker(signature(kind("list", INT))))
    assert 64 <= max(s.n for s in workload) <= 100
    with pytest.raises(NoWorkload, match="never"):
        await grow(starter("def f(items):\n    raise ValueError('never')\n"), maker(signature(kind("list", INT))))


@pytest.mark.slow
async def test_inputs_that_are_left_at_once_lose_against_those_that_are_worked_on() -> None:
    balanced = """
def f(text):
    stack = []
    for c in text:
        if c in "([": stack.append(c)
        elif not stack or stack.pop() + c not in ("()", "[]"): return False
    return not stack
"""
    workload = await grow(starter(balanced), maker(NONE, (case("([])"), case("(())[]"), case("[]"))))
    large = max(workload, key=lambda s: s.n)
    (text,) = plain(large.make(5, 1)[0])
    assert text.count("(") == text.count(")") and len(text) > 1000


def test_given_cases_are_taken_as_they_are() -> None:
    cases = [Case(arguments=case(i).arguments, size=i) for i in range(5)]
    (stratum,) = given(cases)
    assert stratum.n == 4
    assert len(stratum.make(1, 3)) == 3 and len(stratum.make(1, 12)) == 5 and stratum.fixed == tuple(cases)
    with pytest.raises(NoWorkload):
        given([])


def test_pairs_of_numbers_may_stay_close_and_numbers_below_a_bound() -> None:
    spans = (case([(5, 8), (1, 3), (2, 5)], 3), case([(10, 11), (1, 2)], 2))
    items, _ = one(NONE, 300, spans, style=CLOSE)
    assert {b - a for a, b in items} == {1, 2, 3} and max(a for a, _ in items) > 300
    items, count = one(NONE, 300, spans, style=BOUNDED)
    assert count == 300 and all(0 <= a < 300 and 0 <= b < 300 for a, b in items)
    pairs = kind("list", kind("tuple", INT, INT))
    declared = signature(pairs, INT)
    items, _ = one(declared, 300, style=CLOSE)
    assert all(0 < b - a <= 9 for a, b in items)
    assert one(declared, 300, style=BOUNDED)[1] == 300


async def test_the_style_that_keeps_the_original_busy_is_taken() -> None:
    merge = """
def f(spans):
    merged = []
    for start, end in spans:
        again = True
        while again:
            again = False
            for other in merged:
                if other[0] <= end and start <= other[1]:
                    start, end = min(start, other[0]), max(end, other[1])
                    merged.remove(other)
                    again = True
                    break
        merged.append((start, end))
    return sorted(merged)
"""
    pairs = kind("list", kind("tuple", INT, INT))
    workload = await grow(starter(merge), maker(signature(pairs)))
    (largest,) = workload[-1].make(1, 1)
    assert largest.size < 4000  # long spans all merge into one, and even 100,000 of them take no time
