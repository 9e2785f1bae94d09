"""The tagged encoding on the trusted side, and that the two codecs mean the same."""

from __future__ import annotations

import dataclasses
import math
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perforch_core import values
from perforch_core.values import EnumMember, Record, Special, canonical_digest, encode, source_text

sys.path.insert(0, str(Path(values.__file__).parent / "languages" / "drivers"))
import perforch_codec as codec

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers()
)
HASHABLE = st.none() | st.booleans() | st.integers() | st.text(st.characters())
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(HASHABLE, inner)
        | st.sets(HASHABLE)
        | st.frozensets(HASHABLE)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_both_codecs_mean_the_same(value: object) -> None:
    trusted, inside = encode([value]), codec.encode_graph([value])
    assert canonical_digest(trusted) == canonical_digest(inside)
    (back,) = codec.decode_graph(trusted, codec.find_type)
    assert repr(back) == repr(value) or isinstance(value, (set, frozenset, dict, list, tuple))
    assert canonical_digest(codec.encode_graph([back])) == canonical_digest(trusted)


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**9000), 2**64, -0.0, math.inf, -math.inf, "\ud800", "\U0001f600", bytearray(b"\0x"), b"", ""],
    ids=lambda value: type(value).__name__,
)
def test_awkward_scalars_survive(value: object) -> None:
    (back,) = codec.decode_graph(encode([value]), codec.find_type)
    assert type(back) is type(value)
    assert back == value
    assert math.copysign(1, back) == math.copysign(1, value) if isinstance(value, float) else True


def test_aliases_and_cycles_survive() -> None:
    shared: list[object] = [1]
    cyclic: list[object] = [shared, shared]
    cyclic.append(cyclic)
    (back,) = codec.decode_graph(encode([cyclic]), codec.find_type)
    assert back[0] is back[1]
    assert back[2] is back
    assert source_text(encode([cyclic]), 0) == "[[1], [1], <cycle>]"


def test_depth_costs_no_stack() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    wire = encode([value])
    (back,) = codec.decode_graph(wire, codec.find_type)
    assert canonical_digest(codec.encode_graph([back])) == canonical_digest(wire)
    assert source_text(wire, 0).startswith("[[[")
    while back:  # taken apart by hand: the interpreter would free it recursively
        back = back.pop()


def test_digests_tell_types_order_and_aliases_apart() -> None:
    shared = [1]
    different = [[True], [1], [1.0], ["1"], [[1, 2]], [[2, 1]], [(1, 2)], [{1, 2}], [{1: 2, 3: 4}], [{3: 4, 1: 2}]]
    assert len({canonical_digest(encode(v)) for v in different}) == len(different)
    assert canonical_digest(encode([[shared, shared]])) != canonical_digest(encode([[[1], [1]]]))
    assert canonical_digest(encode([{"b", "a", "c"}])) == canonical_digest(encode([{"c", "b", "a"}]))


def test_nominal_types() -> None:
    wire = encode(
        [Record("app.Point", (("x", 1), ("y", [2]))), EnumMember("app.Color", "RED"), Special("decimal.Decimal", "1.5")]
    )
    assert [source_text(wire, root) for root in wire["roots"]] == ["Point(x=1, y=[2])", "Color.RED", "Decimal('1.5')"]


def test_source_text_can_be_pasted_and_has_an_end() -> None:
    values = [date(2024, 2, 29), timedelta(1, 2, 3), datetime(2024, 1, 2, 3, 4), range(1, 9, 2), Decimal("1.50")]
    wire = codec.encode_graph([values])
    assert eval(source_text(wire, wire["roots"][0])) == values
    assert source_text(codec.encode_graph(["a" * 1000]), 0, limit=10) == "'aaaaaaaaa…"


def test_a_malformed_graph_has_a_digest_of_its_own() -> None:
    assert canonical_digest({"nodes": [["list", [7]]], "roots": [0]}) == "malformed"
    assert canonical_digest({"nodes": [3], "roots": [0]}) == "malformed"  # type: ignore[list-item]


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


@dataclasses.dataclass
class Open:
    x: int


def test_a_frozen_dataclass_is_a_value_and_another_one_an_object() -> None:
    frozen, opened = Frozen(1), Open(1)
    wire = codec.encode_graph([frozen, opened])
    assert [wire["nodes"][root][3] for root in wire["roots"]] == ["frozen", "state"]
    assert codec.decode_graph(wire, lambda name: {"Frozen": Frozen, "Open": Open}[name.rsplit(".")[-1]]) == [
        frozen,
        opened,
    ]
