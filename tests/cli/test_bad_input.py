"""Bad input on the real command line: a clear message, the right exit code, nothing changed, no process left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

GOOD = '''
def total(prices: list[int]) -> int:
    """The sum."""
    result = 0
    for price in prices:
        result += price
    return result
'''


def perforch(*arguments: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perforch_cli.main", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def nothing_left(tmp_path: Path):
    """After the test no process of ours has the test's folder as its working directory or in its arguments."""
    yield
    left = []
    for process in psutil.process_iter(["pid", "cwd", "cmdline"]):
        words = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
        if any(str(tmp_path) in word for word in words) and process.pid != psutil.Process().pid:
            left.append(process.info)
    assert not left


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


CASES = {
    "missing file": ({"a.py": GOOD}, "b.py::total", 2, "b.py: there is no such file"),
    "a folder": ({"sub/a.py": GOOD}, "sub::total", 2, "this is a folder"),
    "no symbol": ({"a.py": GOOD}, "a.py", 2, "name the function too, as in a.py::function"),
    "unknown symbol": ({"a.py": GOOD}, "a.py::totl", 2, "has no function 'totl'; it has total"),
    "two of one name": ({"a.py": GOOD + GOOD}, "a.py::total", 2, "2 functions named total: choose total:1 or total:8"),
    "syntax error": ({"a.py": "def total(:\n    pass\n"}, "a.py::total", 2, "does not parse: line 1"),
    "another language": ({"a.txt": "x"}, "a.txt::total", 2, "does not know files that end in '.txt'"),
    "does not load": ({"a.py": "import nowhere_to_be_found\n" + GOOD}, "a.py::total", 2, "nowhere_to_be_found"),
    "nothing can prove it": (
        {"a.py": "import socket\ndef send(s: socket.socket):\n    return s.send(b'x')\n"},
        "a.py::send", 2, "nothing can prove a rewrite of send right",
    ),
    "tests fail before": (
        {"a.py": GOOD, "test_a.py": "from a import total\ndef test_total():\n    assert total([1, 2]) == 4\n"},
        "a.py::total", 2, "fail before any change (test_total)",
    ),
    "it hangs": (
        {"a.py": "def spin(n: int) -> int:\n    while True:\n        pass\n"}, "a.py::spin", 2, "no answer within"
    ),
    "it prints a gigabyte": (
        {
            "a.py": "import sys\ndef shout(n: int) -> int:\n    for _ in range(1 << 14):\n"
            "        sys.__stdout__.write('x' * (1 << 16))\n    return n\n"
        },
        "a.py::shout", None, "",
    ),
    "it exits": ({"a.py": "import os\ndef leave(n: int) -> int:\n    os._exit(0)\n"}, "a.py::leave", 2, ""),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, project: Callable[..., Path], nothing_left: None) -> None:
    files, where, code, message = CASES[name]
    root = project(files)
    before = snapshot(root)
    done = perforch("optimize", where, "--budget", "30s", cwd=root)
    assert "Traceback" not in done.stderr or name == "does not load", done.stderr
    if code is not None:
        assert done.returncode == code, done.stderr + done.stdout
    else:
        assert done.returncode in (1, 2), done.stderr + done.stdout
    assert message in done.stderr
    assert snapshot(root) == before


def test_errors_as_json(project: Callable[..., Path]) -> None:
    root = project({"a.py": GOOD})
    done = perforch("optimize", "a.py::totl", "--json", cwd=root)
    assert done.returncode == 2
    data = json.loads(done.stdout)
    assert data["schema"] == 1 and data["status"] == "failed"
    assert data["error"] == {"kind": "input", "message": data["reason"], "choices": ["total"]}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_answer_that_cannot_be_written(project: Callable[..., Path]) -> None:
    root = project({"a.py": GOOD})
    command = [sys.executable, "-m", "perforch_cli.main", "optimize", "a.py::totl", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=root, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "perforch: the answer could not be written: No space left on device"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_interrupt_is_an_answer_too(project: Callable[..., Path], nothing_left: None) -> None:
    root = project({"a.py": GOOD.replace("result = 0", "import time; time.sleep(1); result = 0")})
    before = snapshot(root)
    command = [sys.executable, "-m", "perforch_cli.main", "optimize", "a.py::total", "--json"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "cancelled; nothing was changed" in err
    assert json.loads(out)["error"]["kind"] == "cancelled"
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimise"], "No such command 'optimise'"),
        (["optimize"], "Missing argument"),
        (["optimize", "a.py::total", "--budget", "soon"], "--budget soon: give a time such as 30s or 2m"),
        (["optimize", "a.py::total", "--calls", "-1"], "Invalid value for '--calls'"),
        (["compare", "a.py::total", "a.py::sum"], "one name in both files, not total and sum"),
        (["compare", "a.py", "a.py"], "a.py: name the function too"),
        (["optimize", "a.py::total", "--model", "nope"], "no model named 'nope'"),
    ],
)
def test_usage(arguments: list[str], message: str, project: Callable[..., Path]) -> None:
    done = perforch(*arguments, cwd=project({"a.py": GOOD}))
    assert done.returncode == 2
    assert message in done.stderr
