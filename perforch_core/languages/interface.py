"""What the rest of the core asks of a language. One file per language implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from perforch_core.values import Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function found in a file; offsets in code points. `line` is the 1-based line of its `def`.

    `symbol` is the dotted path to it inside the file ("Cart.total", "outer.inner"). `start` includes decorators,
    `header` is where the `def` itself starts, `body` where its first statement (or docstring) starts.
    """

    symbol: str
    start: int
    header: int
    body: int
    end: int
    line: int
    parameters: tuple[str, ...] = ()
    is_async: bool = False
    is_generator: bool = False
    in_class: bool = False
    nested: bool = False
    docstring: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseType:
    """The type of a parameter, the same for all languages.

    `kind`: none bool int float complex str bytes list tuple set frozenset dict optional union enum record literal any
    iterator callable opaque. `args` are the parts (list: item; dict: key, value; tuple: each, or one and `variadic`;
    union: alternatives). `name` is the type's own name for enum, record and opaque; `fields` a record's, in order;
    `members` an enum's names; `values` a literal's (as wire).
    """

    kind: str
    args: tuple[CaseType, ...] = ()
    name: str = ""
    fields: tuple[tuple[str, CaseType], ...] = ()
    members: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    variadic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """`kind` is "positional", "keyword" or "variadic"; `has_default` tells whether it may be left out."""

    name: str
    type: CaseType
    kind: str = "positional"
    has_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What the running program says of the target: parameters (the receiver excluded), flags.

    `receiver` is how to make `self` for a method (a record type), None for a plain function or static method.
    `problem` says why the driver cannot call it ("nested function", "needs a live socket"), "" when it can.
    """

    parameters: tuple[Parameter, ...]
    receiver: CaseType | None = None
    is_async: bool = False
    is_generator: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call of the target as wire data: its roots are the receiver (if any) and then the arguments in order.

    `keywords` names the last arguments that go by keyword. `expected` is the wanted result, where known.
    `origin` says where it comes from: "docs", "user", "captured", "generated", "boundary".
    """

    arguments: Wire
    keywords: tuple[str, ...] = ()
    expected: Wire | None = None
    origin: str = "generated"
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one call did, as data.

    `graph`'s roots are the result and then receiver and arguments as they were after the call (one graph, so that
    aliases between them show); when the call raised, the first root is a none in place of the result. `raised` is
    (type name, message); `traceback` is for people. `dead` says why there is no answer ("no answer within 2 s", "the
    process ended ...", "undecodable: ..." when the arguments could not be built), "" when there is one. `state` holds
    the module's own variables that the call changed, by name, as they were after it.
    """

    graph: Wire | None = None
    raised: tuple[str, str] | None = None
    traceback: str = ""
    stdout: str = ""
    dead: str = ""
    seconds: float = 0.0
    lines: frozenset[int] = frozenset()
    state: Mapping[str, Wire] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The time of `calls` calls inside a driver, read from outside, in seconds.

    `cpu` is that of the whole process; `wall` leaves out the time it waited for a processor.
    """

    calls: int
    cpu: float
    wall: float


class Driver(Protocol):
    """One live sandboxed process that holds one version of the target and does as the trusted side says."""

    async def call(self, case: Case, *, timeout: float, trace: bool = False, twice: bool = False) -> Observation:
        """Call once. A dead process gives `dead`, never an error.

        `trace`: also say which lines of the file ran. `twice`: call two times on separately built arguments; the
        graph's roots are then both results and the arguments of the first call, so that a shared result shows.
        """

    async def load(self, cases: Sequence[Case]) -> int:
        """Decode inputs for timing and hold them, replacing the ones before; the number held."""

    async def block(self, calls: int, *, timeout: float, empty: bool = False) -> Block:
        """Call the target `calls` times, on the held inputs in turn, arguments copied beforehand outside the clock.

        `empty` times the same loop around a function that does nothing. Raises DriverDied.
        """

    async def digest(self, *, timeout: float) -> tuple[str, ...]:
        """A digest of the outcome of each held input (results, exceptions and mutated arguments). Raises DriverDied."""

    async def peak(self, index: int, *, timeout: float) -> int:
        """Peak memory in bytes above idle of one call on held input `index`, seen from outside. Raises DriverDied."""

    async def profile(self, *, timeout: float) -> Mapping[int, float]:
        """Share of time by line of the file over the held inputs. Raises DriverDied."""

    async def close(self) -> None:
        """End the process. Safe to call twice."""


class DriverDied(Exception):
    """The candidate's process ended or hung; the message says how."""


class BuildFailed(Exception):
    """The version does not compile or import; the message is what the compiler or interpreter said, shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the target's file: a label ("original", "candidate 3", "canary") and the whole text."""

    label: str
    text: str


class Harness(Protocol):
    """Starts drivers for versions of one target. Owned by the task; closing it ends every process it started."""

    async def signature(self) -> Signature:
        """The signature of the original, as the running program reports it. Raises BuildFailed."""

    async def start(self, version: Version, *, seed: int = 0) -> Driver:
        """A fresh process with this version loaded under hash seed `seed`. Raises BuildFailed."""

    async def aclose(self) -> None:
        """End everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """Where a target lives and how its code is run. `interpreter` is the Python of the project, `env` what it needs."""

    root: Path
    interpreter: Path
    path_entries: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
