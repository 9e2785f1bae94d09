"""Runs versions on cases and judges a candidate by what the original did.

`find_cases` makes inputs on which the original behaves the same every time; `judge` stops at the first input on which
a candidate does not. Expected values, comparison and verdict stay on this side; drivers only return data.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from perforch_core.evidence import Counterexample
from perforch_core.languages.interface import Case, Driver, DriverDied, Harness, Observation, Signature, Version
from perforch_core.oracle.conditions import Condition, imposed, stated_conditions
from perforch_core.oracle.equivalence import (
    EXACT,
    MAX_ULPS,
    Agreement,
    Kind,
    Tolerance,
    compare,
    has_identity,
    malformed,
    nudged,
    ulps_between,
)
from perforch_core.oracle.generate import generate_cases, informative
from perforch_core.oracle.guess import docstring_of, guess_types, other_types, source_constants
from perforch_core.oracle.shrink import argument_names, counterexample, shrink
from perforch_core.values import Wire, parse_integer

Factory = Callable[[], Awaitable[Driver]]

HASH_SEEDS = (0, 1, 2)
SLOWER = 50.0
"""A call of a candidate may take this many times the original's own call (or four times its slowest one, if that is
more; never more than this many times the slowest), and `SLACK` seconds."""
SLACK = 1.0
REPEATED = 8
PILOT = 30
OTHERS = 8
MAX_DEATHS = 8
STEADY_SECONDS = 6.0
"""Running the original again gets at least so long: on a busy machine, making the inputs may take all the time."""

EXHAUSTED = frozenset({"RecursionError", "MemoryError"})
"""Exceptions that tell of this machine's limits and not of what the function means: no oracle."""
MISFITS = frozenset({"TypeError", "AttributeError"})
"""Exceptions that, where the types are only guessed, tell that the guess was wrong."""

NO_PARAMETERS = Signature(parameters=())

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the original does: cases, observations and tolerances go together by position.

    `sharing` says, for the cases on which it was tried, whether two calls of the original return the same mutable
    object. `dropped` are cases set aside, with the reason; `notes` say it for people.
    """

    cases: tuple[Case, ...]
    observations: tuple[Observation, ...]
    tolerances: tuple[Tolerance, ...]
    sharing: tuple[bool | None, ...]
    dropped: tuple[tuple[Case, str], ...] = ()
    notes: tuple[str, ...] = ()
    signature: Signature = NO_PARAMETERS

    @property
    def normal_returns(self) -> int:
        """The number of cases on which the original returns."""
        return sum(o.raised is None for o in self.observations)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest call."""
        return max((o.seconds for o in self.observations), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How a candidate fared. `compared` cases agreed with the original, `normal_returns` of them returning.

    `reason` is "" when no difference was found, else "different", "too slow", "died", "keeps state" or "shares
    results"; then `case` and `counterexample` show it and `words` tell it. `complete` is False when time ran out.
    """

    compared: int
    normal_returns: int
    counterexample: Counterexample | None = None
    case: Case | None = None
    reason: str = ""
    words: str = ""
    uncomparable: int = 0
    notes: tuple[str, ...] = ()
    complete: bool = True

    @property
    def same(self) -> bool:
        """Whether something was compared and nothing differed."""
        return not self.reason and self.compared > 0


class _Seat:
    """A place for one live driver, which is replaced when it dies."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._driver: Driver | None = None
        self.deaths = 0

    async def call(self, case: Case, *, timeout: float, twice: bool = False) -> Observation:
        if self._driver is None:
            try:
                self._driver = await self._factory()
            except DriverDied as error:
                self.deaths += 1
                return Observation(dead=str(error))
        seen = await self._driver.call(case, timeout=timeout, twice=twice)
        if seen.dead and not _answered(seen):
            self.deaths += 1
            await self.fresh()
        return seen

    async def fresh(self) -> None:
        """Let the next call have a new process."""
        if self._driver is not None:
            driver, self._driver = self._driver, None
            await driver.close()

    async def __aenter__(self) -> _Seat:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fresh()


def _answered(seen: Observation) -> bool:
    """The driver itself is well: it only could not build the arguments or encode the result."""
    return seen.dead.startswith(("undecodable", "too large"))


def _timed_out(seen: Observation) -> bool:
    return not _answered(seen) and any(words in seen.dead for words in ("no answer within", "wall time", "CPU time"))


def _factory(harness: Harness, version: Version, seed: int) -> Factory:
    async def start() -> Driver:
        return await harness.start(version, seed=seed)

    return start


async def observe(driver_factory: Factory, cases: Sequence[Case], *, timeout: float) -> list[Observation]:
    """What each case does, in order, in one process that is replaced when it dies.

    After `MAX_DEATHS` deaths the rest is given up (`dead` says so). Raises BuildFailed.
    """
    found: list[Observation] = []
    async with _Seat(driver_factory) as seat:
        for case in cases:
            if seat.deaths >= MAX_DEATHS:
                found.append(Observation(dead=f"not tried after {MAX_DEATHS} calls without an answer"))
            else:
                found.append(await seat.call(case, timeout=timeout))
    return found


# --- the original ------------------------------------------------------------------------------------------------


async def find_cases(
    harness: Harness,
    version: Version,
    signature: Signature,
    *,
    source: str,
    specification: str = "",
    count: int = 200,
    seed: int = 0,
    samples: Sequence[Case] = (),
    timeout: float = 2.0,
    seconds: float = 20.0,
    tolerance: Tolerance = EXACT,
) -> Baseline:
    """Samples and about `count` generated cases on which the original is steady, mostly returning ones.

    `source` is the target's own text: its literals become inputs, undeclared types are guessed from it, and conditions
    that its docstring or the `specification` states are kept (a note says so). Where most inputs raise, more are made
    from those that do not. Raises BuildFailed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    constants = source_constants(source)
    start = _factory(harness, version, HASH_SEEDS[0])
    declared = signature
    signature = await _best_signature(start, signature, source, seed=seed, samples=samples, timeout=timeout)
    conditions = stated_conditions(f"{docstring_of(source)}\n{specification}", signature)
    made = await _generated(signature, count=count, seed=seed, samples=samples, constants=constants)
    cases = _unlike([*samples, *_imposed_on_all(conditions, signature, made)])
    seen = await _first_pass(start, cases, timeout=timeout, deadline=loop.time() + seconds * 0.3)
    returning = [case for case, o in zip(cases, seen, strict=True) if _returned(o)]
    if returning and len(returning) * 2 < len(cases):
        made = await _generated(signature, count=count, seed=seed + 1, samples=returning[:80], constants=constants)
        more = _unlike(_imposed_on_all(conditions, signature, made), but=cases)
        cases += more
        seen += await _first_pass(start, more, timeout=timeout, deadline=loop.time() + seconds * 0.2)
    if signature != declared:
        others = await _of_other_types(start, declared, signature, seed=seed, but=cases)
        cases += [case for case, _ in others]
        seen = [_without_misfit(o) for o in (*seen, *(o for _, o in others))]
    seen = _affordable(seen, seconds=seconds * 0.05)
    kept = informative(cases, seen)
    unanswered = [(c, o.dead) for c, o in zip(cases, seen, strict=True) if o.dead]
    cases, seen = [cases[i] for i in kept], [seen[i] for i in kept]
    baseline = await stable_cases(
        harness, version, cases, first=seen, timeout=timeout, seconds=deadline - loop.time(), tolerance=tolerance
    )
    notes = (*_dropped_notes(unanswered), *baseline.notes)
    if conditions:
        notes = (f"inputs are kept as the documentation says: {', '.join(map(str, conditions))}", *notes)
    return replace(baseline, dropped=(*unanswered, *baseline.dropped), notes=notes, signature=signature)


async def _best_signature(
    start: Factory, signature: Signature, source: str, *, seed: int, samples: Sequence[Case], timeout: float
) -> Signature:
    """Of the guesses at undeclared types, the one on which the original returns most often in a short pilot."""
    choices = [signature] if samples else guess_types(signature, source)
    if len(choices) == 1:
        return choices[0]
    best, most = choices[0], -1.0
    for choice in choices:
        cases = await _generated(choice, count=PILOT, seed=seed)
        seen = await observe(start, cases, timeout=min(timeout, 0.5))
        share = sum(map(_returned, seen)) / max(1, len(seen))
        if share > most + 0.1:  # an earlier guess is the likelier one: it is left only for a clear gain
            best, most = choice, share
        if most >= 0.9:
            break
    return best


async def _of_other_types(
    start: Factory, declared: Signature, guessed: Signature, *, seed: int, but: Sequence[Case]
) -> list[tuple[Case, Observation]]:
    """Inputs of other types than those guessed, as far as the original returns on them."""
    made = [await _generated(other, count=OTHERS, seed=seed) for other in other_types(declared, guessed)]
    cases = _unlike(list(itertools.chain.from_iterable(made)), but=but)
    seen = await observe(start, cases, timeout=0.25)
    return [(case, o) for case, o in zip(cases, seen, strict=True) if _returned(o)]


async def _generated(signature: Signature, **options: Any) -> list[Case]:
    # In a thread: half a second of work must not keep the loop from hearing a cancellation.
    return await asyncio.to_thread(generate_cases, signature, **options)


def _imposed_on_all(conditions: Sequence[Condition], signature: Signature, cases: Sequence[Case]) -> list[Case]:
    made = [imposed(conditions, signature, case) for case in cases]
    return [case for case in made if case is not None]


def _returned(seen: Observation) -> bool:
    return not seen.dead and seen.raised is None


def _without_misfit(seen: Observation) -> Observation:
    if seen.raised is not None and seen.raised[0] in MISFITS:
        return Observation(dead=f"the guessed types do not fit: {seen.raised[0]}")
    return seen


def _affordable(seen: Sequence[Observation], *, seconds: float) -> list[Observation]:
    """Without the slowest, so that one run over all takes about `seconds`; there will be many runs."""
    found = list(seen)
    spent = 0.0
    for rank, i in enumerate(sorted(range(len(seen)), key=lambda i: seen[i].seconds)):
        spent += seen[i].seconds
        if rank >= 10 and spent > seconds and not seen[i].dead:
            found[i] = Observation(dead=f"slow: {seen[i].seconds:.2g} s, left out to save time")
    return found


def _unlike(cases: Sequence[Case], but: Sequence[Case] = ()) -> list[Case]:
    keys = {_key(case) for case in but}
    found = []
    for case in cases:
        if (key := _key(case)) not in keys:
            keys.add(key)
            found.append(case)
    return found


def _key(case: Case) -> tuple[str, tuple[str, ...]]:
    return repr((case.arguments["nodes"], case.arguments["roots"])), case.keywords


async def _first_pass(start: Factory, cases: Sequence[Case], *, timeout: float, deadline: float) -> list[Observation]:
    """Observe; what is at least as large as a case on which time ran out is not tried again."""
    loop = asyncio.get_running_loop()
    found: list[Observation] = []
    too_large: list[tuple[int, int]] = []
    async with _Seat(start) as seat:
        for case in cases:
            largest = _largest(case)
            if loop.time() > deadline or len(too_large) >= MAX_DEATHS or seat.deaths >= MAX_DEATHS * 2:
                found.append(Observation(dead="not tried: out of time"))
            elif any(largest >= number and case.size >= size for number, size in too_large):
                found.append(Observation(dead="not tried: a smaller input already took too long"))
            else:
                # Each time-out makes the next one shorter: what is slow here is slow in every later run as well.
                seen = await seat.call(case, timeout=max(min(timeout, 0.25), timeout / 2 ** len(too_large)))
                if seen.dead and _timed_out(seen):
                    too_large.append((largest, case.size))
                elif seen.raised is not None and seen.raised[0] in EXHAUSTED:
                    seen = Observation(dead=f"out of stack or memory: {seen.raised[0]}")
                found.append(seen)
    return found


def _largest(case: Case) -> int:
    """The largest integer argument."""
    nodes = case.arguments["nodes"]
    texts = (nodes[root][1] for root in case.arguments["roots"] if nodes[root][0] == "int")
    return max((parse_integer(text) for text in texts), default=0)


async def stable_cases(
    harness: Harness,
    version: Version,
    cases: Sequence[Case],
    *,
    first: Sequence[Observation] | None = None,
    timeout: float = 2.0,
    seconds: float = 20.0,
    tolerance: Tolerance = EXACT,
) -> Baseline:
    """Run the original again, backwards, and under three hash seeds: what varies is set aside, and said.

    Where only the order of the result varies with the hash seed, the case is kept and compared in any order: nobody
    can rely on it. `first` are observations already made under the first seed. Raises BuildFailed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max(STEADY_SECONDS, seconds)
    if first is None:
        start = _factory(harness, version, HASH_SEEDS[0])
        first = await _first_pass(start, cases, timeout=timeout, deadline=deadline)
    tolerances: list[Tolerance] = [tolerance] * len(cases)
    reasons: dict[int, str] = {}
    for i, seen in enumerate(first):
        found = compare(seen, seen, tolerance=tolerance)
        if found.kind is not Kind.SAME:
            reasons[i] = seen.dead or f"cannot be compared: {found.words}"
    for number, seed in enumerate((HASH_SEEDS[0], *HASH_SEEDS[1:])):
        order = [i for i in range(len(cases)) if i not in reasons]
        if number == 0:
            order.reverse()  # what one call leaves behind shows when others come before it
        # Each run gets its share of the time left: what one has no time for, the later ones need not run.
        until = loop.time() + (deadline - loop.time()) / (len(HASH_SEEDS) - number)
        again = await _again(_factory(harness, version, seed), cases, order, timeout=timeout, deadline=until)
        for i, later in again.items():
            if later is None:
                reasons[i] = "not run again in the time"
            elif (found := compare(first[i], later, tolerance=tolerances[i])).kind is not Kind.SAME:
                loose = replace(tolerance, unordered="deep")
                if compare(first[i], later, tolerance=loose).kind is Kind.SAME:
                    tolerances[i] = loose
                else:
                    reasons[i] = f"{'varies' if number == 0 else 'depends on the hash seed'}: {found.words}"
    kept = [i for i in range(len(cases)) if i not in reasons]
    sharing = await _sharing(_factory(harness, version, HASH_SEEDS[0]), cases, first, kept, timeout=timeout)
    dropped = tuple((cases[i], reason) for i, reason in sorted(reasons.items()))
    notes = _dropped_notes(dropped)
    loose_count = sum(tolerances[i].unordered != tolerance.unordered for i in kept)
    if loose_count:
        notes.append(f"{loose_count} inputs: the order of the result varies in the original, so any order is accepted")
    return Baseline(
        cases=tuple(cases[i] for i in kept),
        observations=tuple(first[i] for i in kept),
        tolerances=tuple(tolerances[i] for i in kept),
        sharing=tuple(sharing.get(i) for i in kept),
        dropped=dropped,
        notes=tuple(notes),
    )


async def _again(
    start: Factory, cases: Sequence[Case], order: Sequence[int], *, timeout: float, deadline: float
) -> dict[int, Observation | None]:
    loop = asyncio.get_running_loop()
    found: dict[int, Observation | None] = {}
    async with _Seat(start) as seat:
        for i in order:
            late = loop.time() > deadline or seat.deaths >= MAX_DEATHS
            found[i] = None if late else await seat.call(cases[i], timeout=timeout * 2)
    return found


async def _sharing(
    start: Factory, cases: Sequence[Case], seen: Sequence[Observation], kept: Sequence[int], *, timeout: float
) -> dict[int, bool]:
    chosen = [i for i in kept if _returns_mutable(seen[i])]
    chosen = _spread(sorted(chosen, key=lambda i: seen[i].seconds)[: REPEATED * 4], REPEATED)
    found: dict[int, bool] = {}
    async with _Seat(start) as seat:
        for i in chosen:
            both = await seat.call(cases[i], timeout=timeout * 3, twice=True)
            if both.graph is not None and both.raised is None and not malformed(both.graph):
                found[i] = shared_between(both.graph)
    return found


def _returns_mutable(seen: Observation) -> bool:
    if seen.graph is None or seen.raised is not None or malformed(seen.graph):
        return False
    return bool(_mutable_below(seen.graph, seen.graph["roots"][0]))


def shared_between(graph: Wire) -> bool:
    """Whether the first two roots, the results of two calls, hold a mutable object in common."""
    first, second = graph["roots"][:2]
    return bool(_mutable_below(graph, first) & _mutable_below(graph, second))


def _mutable_below(graph: Wire, root: int) -> set[int]:
    nodes, seen, pending = graph["nodes"], {root}, [root]
    while pending:
        node = nodes[pending.pop()]
        children: list[int] = []
        if node[0] in ("list", "tuple", "set", "frozenset", "iterator"):
            children = node[1]
        elif node[0] == "dict":
            children = [i for pair in node[1] for i in pair]
        elif node[0] == "record":
            children = [i for _, i in node[2]]
        fresh = [child for child in children if child not in seen]
        seen.update(fresh)
        pending += fresh
    return {index for index in seen if has_identity(nodes[index])}


def _dropped_notes(dropped: Sequence[tuple[Case, str]]) -> list[str]:
    counts = Counter(reason.split(":")[0] for _, reason in dropped)
    return [f"{count} {'input' if count == 1 else 'inputs'} set aside: {why}" for why, count in counts.most_common(4)]


async def estimate_tolerance(
    harness: Harness, version: Version, baseline: Baseline, *, timeout: float = 2.0, most: int = 20
) -> Tolerance:
    """How far the original's own floats move when every float of its input moves by one unit in the last place.

    The largest reaction over up to `most` cases, at least 1 and at most `MAX_ULPS`; EXACT where no input and no result
    holds a float. To be used only where a user accepts "within k ulp" in place of "same". Raises BuildFailed.
    """
    worst = 0
    touched = False
    async with _Seat(_factory(harness, version, HASH_SEEDS[0])) as seat:
        for case, seen in zip(baseline.cases, baseline.observations, strict=True):
            if most <= 0:
                break
            for up in (True, False):
                moved = nudged(case, up=up)
                if moved is None or seen.graph is None or seen.raised is not None:
                    continue
                touched = True
                result = await seat.call(moved, timeout=timeout)
                if result.raised is None and (distance := _result_ulps(seen, result)) is not None:
                    worst = max(worst, distance)
            most -= touched
    return Tolerance(ulps=min(MAX_ULPS, max(1, worst))) if touched else EXACT


def _result_ulps(left: Observation, right: Observation) -> int | None:
    return ulps_between(_result_only(left), _result_only(right))


def _result_only(seen: Observation, root: int = 0) -> Observation:
    """The observation with only one root: the arguments, changed on purpose, are left out."""
    if seen.graph is None or malformed(seen.graph) or len(seen.graph["roots"]) <= root:
        return replace(seen, graph=None)
    return replace(seen, graph={"nodes": seen.graph["nodes"], "roots": seen.graph["roots"][root : root + 1]})


def hold_back(cases: Sequence[T], *, share: float = 0.3, seed: int = 0) -> tuple[list[T], list[T]]:
    """(shown, held back): about `share` of the cases, chosen at random, are kept from every model.

    Cases of the docs and the user are always shown: they are in the prompt anyway. Order is kept.
    """
    open_ones = [i for i, case in enumerate(cases) if getattr(case, "origin", "") not in ("docs", "user")]
    count = min(round(len(open_ones) * share), max(0, len(open_ones) - 1))
    if share > 0 and len(open_ones) > 1:
        count = max(1, count)
    held = set(random.Random(seed).sample(open_ones, count))
    return [c for i, c in enumerate(cases) if i not in held], [cases[i] for i in sorted(held)]


def split(baseline: Baseline, *, share: float = 0.3, seed: int = 0) -> tuple[Baseline, Baseline]:
    """A baseline in two, (shown, held back), as `hold_back` does."""
    _, held = hold_back(baseline.cases, share=share, seed=seed)
    keys = {id(case) for case in held}
    places = [id(case) in keys for case in baseline.cases]
    return _part(baseline, [i for i, h in enumerate(places) if not h]), _part(
        baseline, [i for i, h in enumerate(places) if h]
    )


def _part(baseline: Baseline, places: Sequence[int]) -> Baseline:
    def pick(column: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(column[i] for i in places)

    return replace(
        baseline,
        cases=pick(baseline.cases),
        observations=pick(baseline.observations),
        tolerances=pick(baseline.tolerances),
        sharing=pick(baseline.sharing),
    )


def _spread(items: Sequence[T], count: int) -> list[T]:
    """`count` items at even distances."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


# --- the candidate -----------------------------------------------------------------------------------------------


async def judge(
    harness: Harness,
    candidate: Version,
    baseline: Baseline,
    *,
    symbol: str,
    seconds: float = 20.0,
    seeds: Sequence[int] = HASH_SEEDS,
) -> Judgement:
    """Compare a candidate with the original on every case, the quick ones first; stop at the first difference.

    First under the first hash seed, then the results of repeated calls, then under the other seeds while `seconds`
    last. Raises BuildFailed.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    judging = _Judging(harness, candidate, baseline, symbol, deadline)
    found = await judging.all_cases(seeds[0])
    if found.reason or not found.compared:
        return found
    if repeated := await judging.repeats(seeds[0]):
        return replace(repeated, compared=found.compared, normal_returns=found.normal_returns, notes=found.notes)
    for seed in seeds[1:]:
        other = await judging.all_cases(seed)
        if other.reason:
            return replace(other, notes=(*other.notes, f"found under hash seed {seed}"))
    return found


@dataclass(slots=True)
class _Judging:
    harness: Harness
    candidate: Version
    baseline: Baseline
    symbol: str
    deadline: float

    def limit(self, i: int) -> float:
        """Seconds that the candidate has for case `i`."""
        slowest, own = self.baseline.slowest, self.baseline.observations[i].seconds
        return round(SLACK + min(SLOWER * slowest, max(SLOWER * own, 4 * slowest)), 1)

    async def all_cases(self, seed: int) -> Judgement:
        base = self.baseline
        order = sorted(range(len(base.cases)), key=lambda i: (base.observations[i].seconds, base.cases[i].size))
        compared = returned = uncomparable = 0
        notes: dict[str, None] = {}
        complete = True
        async with _Seat(_factory(self.harness, self.candidate, seed)) as seat:
            for i in order:
                if asyncio.get_running_loop().time() > self.deadline:
                    complete = False
                    break
                seen = await seat.call(base.cases[i], timeout=self.limit(i))
                if seen.dead and _timed_out(seen):
                    seen = await seat.call(base.cases[i], timeout=self.limit(i))  # the machine may have been busy
                found = self.compared(i, seen)
                if found.kind is Kind.DIFFERENT:
                    refuted = await self.refuted(seat, i, seen, found)
                    return replace(refuted, compared=compared, normal_returns=returned, uncomparable=uncomparable)
                notes.update(dict.fromkeys(found.notes[:1]))
                uncomparable += found.kind is Kind.UNCOMPARABLE
                compared += found.kind is Kind.SAME
                returned += found.kind is Kind.SAME and base.observations[i].raised is None
        told = list(notes)[:3]
        if not complete:
            told.append(f"only {compared} of {len(order)} inputs were compared in the time")
        return Judgement(
            compared=compared, normal_returns=returned, uncomparable=uncomparable, notes=tuple(told), complete=complete
        )

    def compared(self, i: int, seen: Observation) -> Agreement:
        base = self.baseline
        names = argument_names(base.signature, base.cases[i])
        return compare(base.observations[i], seen, tolerance=base.tolerances[i], names=names)

    async def refuted(self, seat: _Seat, i: int, seen: Observation, found: Agreement) -> Judgement:
        """Tell a difference; one that is gone in a new process comes from what earlier calls left behind."""
        words, reason = found.words, "different"
        if seen.dead:
            reason = "too slow" if _timed_out(seen) else "different" if _answered(seen) else "died"
            if reason == "too slow":
                took = self.baseline.observations[i].seconds
                words = f"no answer within {self.limit(i):g} s, where the original takes {took:.2g} s"
        else:
            await seat.fresh()
            alone = await seat.call(self.baseline.cases[i], timeout=self.limit(i))
            if self.compared(i, alone).kind is Kind.SAME:
                reason, words = "keeps state", f"after other calls, {words}; in a new process it agrees"
        return self.judgement(i, seen, reason, words)

    def judgement(self, i: int, seen: Observation, reason: str, words: str) -> Judgement:
        base = self.baseline
        example = counterexample(
            self.symbol, base.cases[i], base.observations[i], seen, words, signature=base.signature
        )
        return Judgement(
            compared=0, normal_returns=0, counterexample=example, case=base.cases[i], reason=reason, words=words
        )

    async def repeats(self, seed: int) -> Judgement | None:
        """Two calls in one process: they must agree, and may share no mutable result that the original's do not."""
        base = self.baseline
        async with _Seat(_factory(self.harness, self.candidate, seed)) as seat:
            for i, shares in enumerate(base.sharing):
                if shares is None or asyncio.get_running_loop().time() > self.deadline:
                    continue
                both = await seat.call(base.cases[i], timeout=self.limit(i) * 2, twice=True)
                if both.dead or both.raised is not None or both.graph is None or malformed(both.graph):
                    words = "a second call in the same process fails"
                    return self.judgement(i, both, "keeps state", words)
                second = replace(_result_only(both, 1), stdout="")
                expected = replace(_result_only(base.observations[i]), stdout="")
                found = compare(expected, second, tolerance=base.tolerances[i])
                if found.kind is Kind.DIFFERENT:
                    return self.judgement(i, second, "keeps state", f"the second of two calls: {found.words}")
                if not shares and shared_between(both.graph):
                    words = "two calls return the same object: a change to the first result shows in the second"
                    return self.judgement(i, both, "shares results", words)
        return None


async def minimal_counterexample(
    harness: Harness,
    original: Version,
    candidate: Version,
    judgement: Judgement,
    *,
    symbol: str,
    signature: Signature,
    seconds: float = 5.0,
    timeout: float = 2.0,
    tolerance: Tolerance = EXACT,
) -> Counterexample | None:
    """The judgement's counterexample, made small by running both versions on smaller inputs. Raises BuildFailed.

    Cases on which the original gives no answer, or raises where it returned before, are not taken. Differences that
    need other calls first are left as they are.
    """
    if judgement.case is None or judgement.reason not in ("different", "died"):
        return judgement.counterexample
    seats = [_Seat(_factory(harness, version, HASH_SEEDS[0])) for version in (original, candidate)]
    last: dict[str, tuple[Case, Observation, Observation, str]] = {}

    async def both(case: Case) -> tuple[Observation, Observation]:
        return await seats[0].call(case, timeout=timeout), await seats[1].call(case, timeout=timeout)

    wanted, _ = await both(judgement.case)

    async def differs(case: Case) -> bool:
        expected, actual = await both(case)
        if expected.dead or (expected.raised is not None and wanted.raised is None):
            return False
        found = compare(expected, actual, tolerance=tolerance, names=argument_names(signature, case))
        if found.kind is Kind.DIFFERENT:
            last["best"] = (case, expected, actual, found.words)
        return found.kind is Kind.DIFFERENT

    try:
        await shrink(judgement.case, differs, signature=signature, seconds=seconds)
    finally:
        for seat in seats:
            await seat.fresh()
    if "best" not in last:
        return judgement.counterexample
    case, expected, actual, words = last["best"]
    return counterexample(symbol, case, expected, actual, words, signature=signature)
