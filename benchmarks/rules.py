"""What the built-in rules gain on their own examples, and how often they fit on code they were not written on.

python benchmarks/rules.py                 table of gains; exit 1 if one is not surely above 1.1
python benchmarks/rules.py --rule ID...    only these rules
python benchmarks/rules.py --on PATH...    matches per rule in source trees, files or HumanEvalPack's python.jsonl
"""

from __future__ import annotations

import argparse
import ast
import collections
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from perforch_core.models.interface import Hints
from perforch_core.models.rules import Example, RuleModel, applications, hints, load_rules
from perforch_core.task import Target

WANTED = 1.1
ROUNDS = 9

_PROGRAM = """
import sys, time
code, call = sys.stdin.read().split("\\0")
names = {}
exec(compile(code, "example", "exec"), names)
call = compile(call, "call", "eval")
eval(call, names)
best, spent = float("inf"), 0.0
while spent < 0.06:
    fresh = {}
    exec(compile(code, "example", "exec"), fresh)
    start = time.process_time()
    eval(call, fresh)
    taken = time.process_time() - start
    best, spent = min(best, taken), spent + max(taken, 1e-6)
print(best)
"""


def seconds(code: str, call: str) -> float:
    """The least CPU time of one call in a fresh process, caches of the code itself empty."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM],
        input=code + "\0" + call,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    return float(done.stdout)


def gain(example: Example, rounds: int) -> tuple[float, float]:
    """Median and lower value (second smallest) of before/after over interleaved pairs of fresh processes."""
    ratios = []
    for number in range(rounds):
        pair = [example.before, example.after]
        times = {code: seconds(code, example.call) for code in (pair if number % 2 else reversed(pair))}
        ratios.append(times[example.before] / times[example.after])
    ratios.sort()
    return statistics.median(ratios), ratios[1]


def gains(only: list[str], rounds: int) -> int:
    """Print the table of gains; the exit code."""
    slow = 0
    for rule in load_rules("python"):
        if only and rule.id not in only:
            continue
        for number, example in enumerate(e for variant in rule.variants for e in variant.examples):
            middle, low = gain(example, rounds)
            weak = low < WANTED
            slow += weak
            print(
                f"{rule.id:28} {number}  {middle:8.2f}x  (lower {low:.2f}x)  {'TOO LITTLE' if weak else ''}", flush=True
            )
    return 1 if slow else 0


def sources(path: Path) -> Iterator[tuple[str, str]]:
    """Names and texts of the Python sources at a path."""
    if path.suffix == ".jsonl":
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["task_id"], row["prompt"] + row["canonical_solution"]
        return
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """The outermost functions and methods of a text: name, start, end."""
    from perforch_core.models.rule_scope import scope_of

    scope = scope_of(text)
    if scope is None:
        return
    pending: list[ast.AST] = [scope.tree]
    while pending:
        for node in ast.iter_child_nodes(pending.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                start, end = scope.span(node)
                first = [scope.span(d)[0] - 1 for d in node.decorator_list]
                yield node.name, min([start, *first]), end
            else:
                pending.append(node)


def survey(paths: list[Path], show: str | None) -> int:
    """Print how often each rule fits; exit 1 when a rewrite is not valid Python or a rule breaks."""
    found: collections.Counter[str] = collections.Counter()
    hinted: collections.Counter[str] = collections.Counter()
    files = total = rewrites = broken = 0
    start_time = time.process_time()
    slowest = (0.0, "")
    model = RuleModel()
    for path in paths:
        for name, text in sources(path):
            files += 1
            hinted.update(finding.rule for finding in hints(text, "python"))
            for symbol, start, end in functions(text.replace("\r\n", "\n")):
                total += 1
                begin = time.process_time()
                target = Target(
                    path=Path(name), symbol=symbol, language="python", root=Path(), text=text, start=start, end=end
                )
                try:
                    for application in applications(text, start, end, load_rules("python")):
                        found[application.rule.id] += 1
                    for rewrite in model.propose(target, Hints()):
                        rewrites += 1
                        ast.parse(rewrite.text)
                        if show and show in rewrite.rule.split("+"):
                            _show(name, text, rewrite.text)
                except Exception as error:
                    broken += 1
                    print(f"{name}::{symbol}: {type(error).__name__}: {error}", file=sys.stderr)
                slowest = max(slowest, (time.process_time() - begin, f"{name}::{symbol}"))
    print(f"{files} files, {total} functions, {rewrites} rewrites, {broken} broken")
    print(f"{time.process_time() - start_time:.1f} s of CPU; slowest {slowest[1]}: {slowest[0]:.2f} s")
    for rule in load_rules("python"):
        print(f"{rule.id:28} {found[rule.id]:6} fits  {hinted[rule.id]:6} hints")
    return 1 if broken else 0


def _show(name: str, before: str, after: str) -> None:
    import difflib

    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, "", lineterm="", n=2)
    print("\n".join(lines))


def main() -> int:
    """Run as told by the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--rule", nargs="+", default=[], metavar="ID")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--show", metavar="ID", help="with --on: print the rewrites of one rule")
    options = parser.parse_args()
    warnings.simplefilter("ignore", SyntaxWarning)
    return survey(options.on, options.show) if options.on else gains(options.rule, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
