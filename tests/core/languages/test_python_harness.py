"""Real drivers in the real sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from perforch_core.languages import find_target
from perforch_core.languages.interface import BuildFailed, Case, Version
from perforch_core.languages.python_harness import PythonDriver, PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.sandbox import Sandbox
from perforch_core.values import EnumMember, Record, encode, source_text

SHAPES = '''
from __future__ import annotations
import asyncio
import enum
from dataclasses import dataclass
from typing import NamedTuple, Optional

class Color(enum.Enum):
    RED = 1
    BLUE = 2

@dataclass
class Box:
    sides: list[int]
    color: Color = Color.RED

    def grow(self, by: int) -> "Box":
        self.sides.append(by)
        return self

    @staticmethod
    def unit() -> "Box":
        return Box([1])

class Pair(NamedTuple):
    left: int
    right: Optional[str] = None

class Tally:
    def __init__(self, start: int = 0):
        self.count = start
        self.__seen = {start}

    def add(self, n: int) -> int:
        self.count += n
        self.__seen.add(n)
        return self.count

def paint(boxes: list[Box], color: Color) -> dict[str, int]:
    """Count."""
    for box in boxes:
        box.color = color
    return {color.name: len(boxes)}

def swap(pair: Pair) -> Pair:
    return Pair(int(pair.right or 0), str(pair.left))

def share(items: list[int], _cache=[]) -> list[int]:
    _cache.extend(items)
    return _cache

async def slowly(n: int):
    await asyncio.sleep(0)
    return n * 2

def upto(n: int):
    for i in range(n):
        yield i

def loud(n: int) -> int:
    print("called with", n)
    raise KeyError(n)

def misbehave(how: str) -> int:
    import os, time
    if how == "exit":
        os._exit(0)
    if how == "hang":
        while True:
            pass
    if how == "eat":
        return len(bytearray(8 << 30))
    if how == "fork":
        os.fork()
    if how == "write":
        open("/tmp/x", "w")
    return 1

def outer(n):
    def inner(m):
        return m
    return inner(n)
'''


@pytest.fixture
async def start(project: Callable[..., Path], sandbox: Sandbox) -> AsyncIterator[Callable[..., Any]]:
    root = project({"shapes.py": SHAPES})
    harnesses: list[PythonHarness] = []

    async def begin(symbol: str, *, text: str | None = None) -> PythonDriver:
        path = root / "shapes.py"
        target = find_target(path, path.read_text(), symbol=symbol)
        harness = PythonHarness(find_project(path), target, sandbox)
        harnesses.append(harness)
        return await harness.start(Version(label="test", text=text or target.text))

    begin.root = root  # type: ignore[attr-defined]
    yield begin
    for harness in harnesses:
        await harness.aclose()


async def call(driver: PythonDriver, *values: Any, **options: Any) -> Any:
    return await driver.call(Case(arguments=encode(values)), timeout=options.pop("timeout", 10), **options)


def shown(seen: Any, root: int = 0) -> str:
    return source_text(seen.graph, seen.graph["roots"][root])


async def test_records_enums_and_mutated_arguments(start: Callable[..., Any]) -> None:
    driver = await start("paint")
    boxes = [Record("shapes.Box", (("sides", [1, 2]),))]
    seen = await call(driver, boxes, EnumMember("shapes.Color", "BLUE"))
    assert shown(seen) == "{'BLUE': 1}"
    assert shown(seen, 1) == "[Box(color=Color.BLUE, sides=[1, 2])]"
    driver = await start("swap")
    assert shown(await call(driver, Record("shapes.Pair", (("left", 1), ("right", "7"))))) == "Pair(left=7, right='1')"


async def test_methods_get_a_receiver_whose_change_is_seen(start: Callable[..., Any]) -> None:
    driver = await start("Box.grow")
    seen = await call(driver, Record("shapes.Box", (("sides", [1]),)), 5)
    assert shown(seen) == "Box(color=Color.RED, sides=[1, 5])"
    assert seen.graph["roots"][0] == seen.graph["roots"][1]  # it returned self
    driver = await start("Tally.add")
    seen = await call(driver, Record("shapes.Tally", (("start", 3),)), 4)
    assert shown(seen) == "7" and shown(seen, 1) == "Tally(_Tally__seen={3, 4}, count=7)"
    assert shown(await call(await start("Box.unit"))) == "Box(color=Color.RED, sides=[1])"


async def test_coroutines_run_and_generators_are_drained(start: Callable[..., Any]) -> None:
    assert shown(await call(await start("slowly"), 4)) == "8"
    assert shown(await call(await start("upto"), 3)) == "iter([0, 1, 2])"


async def test_two_calls_that_share_a_result_show_it(start: Callable[..., Any]) -> None:
    seen = await call(await start("share"), [1], twice=True)
    assert seen.graph["roots"][0] == seen.graph["roots"][1]


async def test_exceptions_and_output_are_seen(start: Callable[..., Any]) -> None:
    seen = await call(await start("loud"), 3, trace=True)
    assert seen.raised == ("KeyError", "3")
    assert seen.stdout == "called with 3\n"
    assert "raise KeyError(n)" in seen.traceback and "perforch" not in seen.traceback
    lines = SHAPES.lstrip("\n").splitlines()
    assert {lines[n - 1].strip() for n in seen.lines} >= {'print("called with", n)', "raise KeyError(n)"}


@pytest.mark.parametrize(
    ("how", "means"),
    [
        ("exit", "the process ended"),
        ("hang", "no answer within 1 s"),
        ("eat", "MemoryError"),
        ("fork", "PermissionError"),
        ("write", "OSError|PermissionError"),
    ],
)
async def test_what_misbehaves_is_a_result_not_an_error(start: Callable[..., Any], how: str, means: str) -> None:
    seen = await call(await start("misbehave"), how, timeout=1 if how == "hang" else 10)
    said = seen.dead or seen.raised[0]
    assert any(part in said for part in means.split("|")), said


async def test_what_cannot_be_built_says_so(start: Callable[..., Any]) -> None:
    seen = await call(await start("paint"), [Record("shapes.Nope", ())], 1)
    assert seen.dead == "undecodable: there is no shapes.Nope in the program"


async def test_versions_that_do_not_load_say_why(start: Callable[..., Any]) -> None:
    with pytest.raises(BuildFailed, match="SyntaxError"):
        await start("paint", text="def paint(:")
    with pytest.raises(BuildFailed, match="ZeroDivisionError"):
        await start("paint", text=SHAPES + "\n1/0\n")
    with pytest.raises(BuildFailed, match="the process ended"):
        await start("paint", text="import os\nos._exit(3)\n")


async def test_the_text_given_is_what_runs_not_the_file(start: Callable[..., Any]) -> None:
    driver = await start("upto", text=SHAPES.replace("yield i", "yield -i"))
    assert shown(await call(driver, 3)) == "iter([0, -1, -2])"
    assert "yield i" in (start.root / "shapes.py").read_text()  # type: ignore[attr-defined]


async def test_timing_memory_and_profile(start: Callable[..., Any]) -> None:
    text = (
        SHAPES + "\ndef work(n: int) -> int:\n    big = [0] * (n * 1000)\n    return sum(i for i in range(n * 1000))\n"
    )
    path = start.root / "shapes.py"  # type: ignore[attr-defined]
    path.write_text(text)
    driver = await start("work")
    assert await driver.load([Case(arguments=encode([n])) for n in (100, 200)]) == 2
    block = await driver.block(4, timeout=30)
    empty = await driver.block(4, timeout=30, empty=True)
    assert block.cpu > 5 * empty.cpu > 0
    assert len(set(await driver.digest(timeout=10))) == 2
    assert await driver.peak(1, timeout=10) > 1_000_000
    hot = await driver.profile(timeout=10)
    assert text.splitlines()[max(hot, key=lambda line: hot[line]) - 1].strip().startswith("return sum")


async def test_the_profile_of_a_generator_is_of_its_body(start: Callable[..., Any]) -> None:
    driver = await start("upto")
    assert await driver.load([Case(arguments=encode([500]))]) == 1
    hot = await driver.profile(timeout=10)
    lines = (start.root / "shapes.py").read_text().splitlines()  # type: ignore[attr-defined]
    defined = next(n for n, line in enumerate(lines, 1) if line.startswith("def upto"))
    yielding = next(n for n, line in enumerate(lines, 1) if n > defined and line.strip() == "yield i")
    assert hot.get(yielding, 0) > 0.05


async def test_signatures_as_data(start: Callable[..., Any], sandbox: Sandbox) -> None:
    path = start.root / "shapes.py"  # type: ignore[attr-defined]
    wanted = {
        "paint": "list(record Box) enum",
        "swap": "record Pair",
        "upto": "int",
        "share": "list(int) list(any)",
        "outer": "any",
        "tagged": "opaque",
    }
    path.write_text(
        path.read_text() + "\nclass Tags(list):\n    pass\n\ndef tagged(tags: Tags):\n    return len(tags)\n"
    )
    for symbol, expected in wanted.items():
        harness = PythonHarness(find_project(path), find_target(path, path.read_text(), symbol=symbol), sandbox)
        signature = await harness.signature()
        await harness.aclose()
        words = []
        for parameter in signature.parameters:
            kind = parameter.type
            inner = (
                f"({kind.args[0].kind}{' ' + kind.args[0].name.rsplit('.', 1)[-1] if kind.args[0].name else ''})"
                if kind.args
                else ""
            )
            words.append(kind.kind + inner + (f" {kind.name.rsplit('.', 1)[-1]}" if kind.kind == "record" else ""))
        assert " ".join(words) == expected
    harness = PythonHarness(find_project(path), find_target(path, path.read_text(), symbol="outer.inner"), sandbox)
    assert "nested in a function" in (await harness.signature()).problem
    await harness.aclose()
