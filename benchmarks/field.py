"""What PerfOrch finds, proves and refuses in well-known packages that it was not written on.

python benchmarks/field.py --work DIR                          boltons and more-itertools, ten functions each
python benchmarks/field.py --work DIR --package textdistance --sdist-version 4.6.3 --test-needs hypothesis
python benchmarks/field.py --work DIR --list                   only show which functions would be taken

Takes the source distributions (they carry the tests), gives each an environment of its own, runs `perforch optimize`
on functions that a fixed rule picks, and writes DIR/field.md. What is done is kept in DIR/results.jsonl, so that a run
that was stopped goes on where it was; --again starts over. --into FILE also puts the tables between the two marks
that FILE has for them (docs/field-report.md).
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import os
import platform
import random
import re
import subprocess
import sys
import tarfile
import time
import traceback
import venv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perforch_core.languages import find_functions, find_target, function_of, read_source
from perforch_core.languages.interface import BuildFailed, DriverDied, Function, Version
from perforch_core.languages.python_harness import PythonHarness
from perforch_core.languages.python_project import find_project
from perforch_core.models.interface import Hints
from perforch_core.models.rules import RuleModel
from perforch_core.oracle.examples import find_examples
from perforch_core.oracle.judge import find_cases
from perforch_core.sandbox import choose
from perforch_core.sandbox.interface import Sandbox
from perforch_core.task import EnvironmentProblem, Target, UserError

PACKAGES = (("boltons", "26.2.0"), ("more-itertools", "11.2.1"))
BACKENDS = ("flit_core", "hatchling", "poetry-core", "setuptools", "wheel")
"""What the packages are built with: pip asks for their metadata, and finds these in the environment it runs in."""

NOT_CODE = frozenset({"tests", "test", "docs", "doc", "examples", "benchmarks"})
MARKS = ("<!-- tables: begin -->", "<!-- tables: end -->")

SAMPLE_CASES = 60
SAMPLE_SECONDS = 2.0
LATE = 180.0
"""Seconds beyond the budget after which a run counts as hung."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package: its unpacked source `root`, and the folder or file below it that is imported."""

    name: str
    version: str
    root: Path

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A function of a package: `file` relative to the root, the number of `rules` rewrites, whether it `loops`."""

    file: str
    symbol: str
    line: int
    rules: int
    loops: bool


# --- the packages -------------------------------------------------------------------------------------------------


def obtain(work: Path, name: str, version: str, needs: Sequence[str]) -> Package:
    """The package's source distribution, unpacked, with an environment that has pytest. Done once."""
    sources = work / "sources"
    root = next((p for p in sources.glob("*") if _is_of(p, name, version)), None)
    if root is None:
        sources.mkdir(parents=True, exist_ok=True)
        _unpack(_download(work, name, version), sources)
        root = next(p for p in sources.glob("*") if _is_of(p, name, version))
    if not (root / ".venv" / "ready").exists():
        venv.create(root / ".venv", with_pip=True, clear=True)
        _pip(root / ".venv", "install", "pytest", *needs)
        (root / ".venv" / "ready").touch()
    return Package(name, version, root)


def _is_of(path: Path, name: str, version: str) -> bool:
    return path.is_dir() and _plain(path.name) == _plain(f"{name}-{version}")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _download(work: Path, name: str, version: str) -> Path:
    tools = work / "tools"
    if not (tools / "ready").exists():
        venv.create(tools, with_pip=True, clear=True)
        _pip(tools, "install", *BACKENDS)
        (tools / "ready").touch()
    folder = work / "downloads"
    _pip(
        tools,
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "--no-build-isolation",
        "-d",
        folder,
        f"{name}=={version}",
    )
    return next(
        p for p in folder.glob("*.tar.gz") if _plain(p.name.removesuffix(".tar.gz")) == _plain(f"{name}-{version}")
    )


def _unpack(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")


def _pip(environment: Path, *arguments: object) -> None:
    python = environment / "bin" / "python"
    command = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr.strip()[-2000:]}")


# --- the functions ------------------------------------------------------------------------------------------------


def public_functions(package: Package) -> Iterator[tuple[Target, Function]]:
    """The functions and methods whose dotted names have no underscore in front, by file and line."""
    for file in sorted(package.root.rglob("*.py")):
        inside = file.relative_to(package.root).parts
        if NOT_CODE & set(inside) or inside[0].startswith(".") or inside[0] in ("setup.py", "conftest.py"):
            continue
        text = read_source(file)
        for function in find_functions(text, "python"):
            if function.nested or any(part.startswith("_") for part in function.symbol.split(".")):
                continue
            try:
                yield find_target(file, text, symbol=f"{function.symbol}:{function.line}"), function
            except UserError as error:
                print(f"{file.name}::{function.symbol}: {error}", file=sys.stderr)


def pick(package: Package, count: int) -> list[Chosen]:
    """Of the functions on which a rule proposes something at most `count`, spread evenly over the package; where they
    are fewer, public functions with loops fill up, spread evenly too."""
    rules = RuleModel()
    found = [
        Chosen(
            str(target.path.relative_to(package.root)),
            function.symbol,
            function.line,
            sum(1 for _ in rules.propose(target, Hints())),
            _loops(target.code),
        )
        for target, function in public_functions(package)
    ]
    first = _spread([f for f in found if f.rules], count)
    return first + _spread([f for f in found if not f.rules and f.loops], count - len(first))


def _loops(code: str) -> bool:
    lines = code.splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    try:
        tree = ast.parse("\n".join(line[indent:] if line[:indent].isspace() else line for line in lines))
    except SyntaxError:
        return False
    return any(isinstance(node, (ast.For, ast.While, ast.comprehension)) for node in ast.walk(tree))


def _spread(items: list[Chosen], count: int) -> list[Chosen]:
    if len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


# --- optimizing ---------------------------------------------------------------------------------------------------


def optimize(package: Package, chosen: Chosen, budget: int, config: Path) -> dict[str, Any]:
    """What `perforch optimize --json` says of one function, as a row of the table."""
    where = f"{chosen.file}::{chosen.symbol}:{chosen.line}"
    command = [sys.executable, "-m", "perforch_cli.main", "optimize", where, "--json", "--model", "rules"]
    command += ["--budget", f"{budget}s"]
    began = time.monotonic()
    env = {**os.environ, "PERFORCH_CONFIG": str(config)}
    env.pop("VIRTUAL_ENV", None)
    try:
        done = subprocess.run(command, cwd=package.root, env=env, capture_output=True, text=True, timeout=budget + LATE)
        output, progress, code = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, progress, code = "", (late.stderr or b"").decode(errors="replace"), -1
    try:
        answer = json.loads(output)
    except ValueError:
        answer = {"status": "hung" if code < 0 else "crashed", "reason": progress.strip().splitlines()[-1:]}
    return {
        "package": package.name,
        "where": f"{chosen.file}::{chosen.symbol}",
        "rules": chosen.rules,
        "code": code,
        "seconds": round(time.monotonic() - began, 1),
        "answer": answer,
        "progress": progress[-6000:],
    }


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows as a Markdown table."""
    yield "| function | tests that reach it | cases compared | proposals | verdict | seconds |"
    yield "|---|---:|---|---:|---|---:|"
    for row in rows:
        answer = row["answer"]
        tried = answer.get("tried") or ()
        cells = (f"`{row['where']}`", tests_of(row), cases_of(row), len(tried), verdict(row), f"{row['seconds']:.0f}")
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def tests_of(row: Mapping[str, Any]) -> str:
    """The number of tests that reach the function, "-" where the run ended before that was known."""
    if re.search(r"None of \d+ tests", row["progress"]):
        return "0"
    found = re.search(r"(\d+) tests? reach", row["progress"])
    return found[1] if found else "-"


def cases_of(row: Mapping[str, Any]) -> str:
    """How many cases there are, or why there are none."""
    notes = [str(n) for n in (row["answer"].get("evidence") or {}).get("evidence_notes", ())]
    found = re.search(r"(\d+) inputs to compare on", row["progress"])
    if found:
        return found[1]
    why = next((n for n in notes if n.startswith("no cases")), "")
    if not why:
        match = re.search(r"no cases: [^;]*", str(row["answer"].get("reason", "")))
        why = match[0] if match else "none"
    return why.replace("no cases: ", "none: ")


def verdict(row: Mapping[str, Any]) -> str:
    """How it ended, in the words of the field report."""
    answer = row["answer"]
    tried = answer.get("tried") or ()
    match answer.get("status"):
        case "suggested":
            return f"**{answer['evidence']['word']}: {answer['title']}** ({answer['reason']})"
        case "unchanged" if not tried and str(answer["reason"]).startswith("No faster version found"):
            return "nothing to propose"
        case "unchanged" if tried:
            outcomes = Counter(f"{a['rule']}: {a['outcome']}" for a in tried)
            return "; ".join(f"{words}{f' (x{n})' if n > 1 else ''}" for words, n in outcomes.items())
        case _:
            return f"{answer.get('status')}: {answer.get('reason')}"


# --- what cases can reach -----------------------------------------------------------------------------------------


async def reach(target: Target, sandbox: Sandbox) -> dict[str, Any]:
    """Whether made-up inputs reach a function: how many cases are steady, how many return, or why there are none."""
    began = time.monotonic()
    harness = PythonHarness(find_project(target.path), target, sandbox)
    function = function_of(target)
    examples = find_examples(function.docstring, target.symbol, method=function.in_class).found
    found: dict[str, Any] = {"cases": 0, "returns": 0, "why": ""}
    try:
        signature = await harness.signature()
        if signature.problem:
            found["why"] = signature.problem
        else:
            original = Version(label="original", text=target.text)
            cases = await find_cases(
                harness,
                original,
                signature,
                source=target.code,
                count=SAMPLE_CASES,
                samples=[example.case for example in examples],
                seconds=SAMPLE_SECONDS,
            )
            found.update(cases=len(cases.cases), returns=cases.normal_returns)
            if not cases.normal_returns:
                raises = "raises on every input that was made up" if cases.cases else "no arguments can be made up"
                found["why"] = "; ".join(cases.notes) or raises
    except (BuildFailed, DriverDied, EnvironmentProblem) as error:
        found["why"] = f"does not load: {str(error).strip().splitlines()[-1]}"
    finally:
        await harness.aclose()
    return {**found, "seconds": round(time.monotonic() - began, 1)}


async def _reach_or_why(target: Target, sandbox: Sandbox) -> dict[str, Any]:
    try:
        async with asyncio.timeout(SAMPLE_SECONDS * 10):
            return await reach(target, sandbox)
    except TimeoutError:
        why = f"no end within {SAMPLE_SECONDS * 10:g} s"
    except Exception as error:  # a fault of ours is a finding, and the others are still to be tried
        traceback.print_exc()
        why = f"crashed: {type(error).__name__}: {error}"
    return {"cases": 0, "returns": 0, "why": why, "seconds": 0.0}


def reached(rows: Sequence[Mapping[str, Any]], total: int) -> Iterator[str]:
    """The share that cases can reach, and why the others cannot be reached, most frequent reason first."""
    if not rows:
        return
    good = [row for row in rows if row["returns"]]
    many = sum(row["returns"] >= SAMPLE_CASES // 4 for row in good)
    yield (
        f"Of {len(rows)} functions drawn from {total} public ones, made-up inputs reach **{len(good)}** "
        f"({len(good) / max(1, len(rows)):.0%}): the function returns on at least one, and does the same every time; "
        f"on {many} it does so on {SAMPLE_CASES // 4} inputs or more. Not reached, and why:"
    )
    yield ""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if not row["returns"]:
            reasons.setdefault(_general(row["why"]), []).append(row["where"].partition("::")[2])
    for why, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        shown = [f"`{name}`" for name in names[:4]] + ["..."] * (len(names) > 4)
        yield f"- {len(names)}: {why} ({', '.join(shown)})"


def _general(why: str) -> str:
    """A reason without its numbers, so that equal ones are counted together."""
    return re.sub(r"\d[\d.,]*", "N", why)[:160]


# --- the whole ----------------------------------------------------------------------------------------------------


class Kept:
    """Rows in a file of JSON lines, each made once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._rows = {row["key"]: row for row in map(json.loads, lines)}

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a key, None where there is none yet."""
        return self._rows.get(key)

    def add(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Write a row down at once."""
        self._rows[key] = {"key": key, **row}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._rows[key]) + "\n")
        return self._rows[key]


def survey(package: Package, options: argparse.Namespace, kept: Kept) -> list[str]:
    """One package's part of the report."""
    lines = [f"## {package.title}", ""]
    rows = []
    for chosen in _picked(package, options.functions, kept):
        key = f"{package.title} {chosen.file}::{chosen.symbol}:{chosen.line} {options.budget}"
        row = kept.get(key)
        if row is None and options.so_far:
            continue
        if row is None:
            row = kept.add(key, optimize(package, chosen, options.budget, options.work / "settings"))
        print(f"{row['seconds']:6.1f} s  {row['where']}: {verdict(row)}", file=sys.stderr, flush=True)
        rows.append(row)
    lines += table(rows)
    everything = [target for target, _ in public_functions(package)]
    drawn = random.Random(1).sample(everything, min(options.sample, len(everything)))
    drawn.sort(key=lambda target: (str(target.path), target.start))
    rows = asyncio.run(_reached_rows(package, drawn, kept, so_far=options.so_far))
    return [*lines, "", *reached(rows, len(everything)), ""]


def _picked(package: Package, count: int, kept: Kept) -> list[Chosen]:
    key = f"pick {count} of {package.title}"
    row = kept.get(key) or kept.add(key, {"chosen": [asdict(chosen) for chosen in pick(package, count)]})
    return [Chosen(**chosen) for chosen in row["chosen"]]


async def _reached_rows(
    package: Package, targets: Sequence[Target], kept: Kept, *, so_far: bool
) -> list[dict[str, Any]]:
    sandbox = await choose()
    rows = []
    try:
        for target in targets:
            where = f"{target.path.relative_to(package.root)}::{target.symbol}"
            key = f"reach {package.title} {where}:{target.start}"
            row = kept.get(key)
            if row is None and so_far:
                continue
            if row is None:
                row = kept.add(key, {"where": where, **await _reach_or_why(target, sandbox)})
            print(f"{row['seconds']:6.1f} s  {where}: {row['returns']} of {row['cases']} {row['why']}", file=sys.stderr)
            rows.append(row)
    finally:
        await sandbox.aclose()
    return rows


def conditions() -> str:
    """What the figures were taken on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return (
        f"{processor}, {os.cpu_count()} processors, load {load:.1f}; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}"
    )


def put_into(file: Path, text: str) -> None:
    """Replace what stands between the marks of a file."""
    old = file.read_text(encoding="utf-8")
    if MARKS[0] not in old or MARKS[1] not in old:
        raise SystemExit(f"{file} lacks the marks {' and '.join(MARKS)}")
    before, after = old.partition(MARKS[0])[0], old.partition(MARKS[1])[2]
    file.write_text(f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> None:
    """Take the packages, run, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and results")
    parser.add_argument("--package", action="append", default=[], metavar="NAME")
    parser.add_argument("--sdist-version", action="append", default=[], metavar="V", help="one for each --package")
    parser.add_argument(
        "--test-needs", action="append", default=[], metavar="NAME", help="further packages for the tests"
    )
    parser.add_argument("--functions", type=int, default=10, metavar="N", help="functions per package")
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="functions whose reach is tried")
    parser.add_argument("--budget", type=int, default=20, metavar="SECONDS", help="budget of each optimization")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables into this file, between its marks")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--so-far", action="store_true", help="write what earlier runs found, and run nothing")
    parser.add_argument("--list", action="store_true", help="show the functions and stop")
    options = parser.parse_args()
    if len(options.package) != len(options.sdist_version):
        parser.error("give one --sdist-version for each --package")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    wanted = tuple(zip(options.package, options.sdist_version, strict=True)) or PACKAGES
    packages = [obtain(options.work, name, version, options.test_needs) for name, version in wanted]
    if options.list:
        for package in packages:
            for chosen in pick(package, options.functions):
                print(f"{package.title}  {chosen.file}::{chosen.symbol}:{chosen.line}  {chosen.rules} rewrites")
        return
    results = options.work / "results.jsonl"
    if options.again:
        results.unlink(missing_ok=True)
    kept, began, before = Kept(results), time.monotonic(), conditions()
    parts = [line for package in packages for line in survey(package, options, kept)]
    minutes = (time.monotonic() - began) / 60
    report = [f"Measured on: {before}. Budget {options.budget} s each; {minutes:.0f} minutes in all.", "", *parts]
    text = "\n".join(report).rstrip() + "\n"
    (options.work / "field.md").write_text(text, encoding="utf-8")
    if options.into:
        put_into(options.into, text)
    print(options.work / "field.md")


if __name__ == "__main__":
    main()
