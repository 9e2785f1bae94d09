"""Runs chosen tests under unittest where the project's interpreter has no pytest; reports as perforch_pytest.py does.

Test names have pytest's form, "tests/test_cart.py::CartTest::test_total". Standard library only, valid for Python 3.8.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
import unittest

import perforch_probe


class Result(unittest.TestResult):
    """Reports each test as it ends."""

    def __init__(self, channel, probe, names, settings):
        super().__init__()
        self.channel = channel
        self.probe = probe
        self.names = names
        self.alarm = perforch_probe.Alarm(settings["test_seconds"])
        self.late = 0
        self.late_allowed = settings["late_allowed"]
        self.now = None
        self.began = 0.0

    def startTest(self, test):
        """A test starts."""
        super().startTest(test)
        name = self.names.get(id(test), test.id())
        self.probe.begin(name)
        self.now = {"name": name, "outcome": "passed", "message": "", "text": ""}
        self.channel.send("start", name=name)
        self.began = time.perf_counter()
        self.alarm.start()

    def stopTest(self, test):
        """A test is over."""
        self.alarm.stop()
        self.late += self.alarm.rung
        super().stopTest(test)
        if self.now is not None:
            probe = self.probe
            self.channel.send(
                "result",
                seconds=time.perf_counter() - self.began,
                reached=self.now["name"] in probe.reached,
                last=probe.last,
                lines=sorted(probe.lines),
                **self.now,
            )
        self.now = None
        if self.late >= self.late_allowed:
            self.stop()

    def _set(self, outcome, err=None):
        if self.now is None or self.now["outcome"] in ("failed", "error"):
            return
        self.now["outcome"] = outcome
        if err is not None:
            kind, value, _ = err
            self.now["message"] = perforch_probe.shortened("%s: %s" % (kind.__name__, value))
            self.now["text"] = perforch_probe.shortened(_traceback_text(err))

    def addError(self, test, err):
        """An exception; in a class or module set-up, it stands for tests that will not be reported."""
        super().addError(test, err)
        if self.now is None:
            self.channel.send("uncollected", name=test.id(), text=perforch_probe.shortened(_traceback_text(err)))
        self._set("error" if self.now is None else "failed", err)

    def addFailure(self, test, err):
        """A failed assertion."""
        super().addFailure(test, err)
        self._set("failed", err)

    def addSubTest(self, test, subtest, err):
        """One part of a test."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._set("failed", err)

    def addSkip(self, test, reason):
        """Skipped."""
        super().addSkip(test, reason)
        self._set("skipped")

    def addExpectedFailure(self, test, err):
        """Failed as it should."""
        super().addExpectedFailure(test, err)
        self._set("xfailed")

    def addUnexpectedSuccess(self, test):
        """Passed though it should not."""
        super().addUnexpectedSuccess(test)
        self._set("failed", (AssertionError, AssertionError("unexpected success"), None))


def _traceback_text(err):
    """The frames of the project, in the form "path:line: in name"."""
    kind, value, trace = err
    own = os.path.dirname(unittest.__file__)
    lines = []
    for frame in traceback.extract_tb(trace):
        if not frame.filename.startswith((own, os.path.dirname(os.path.abspath(__file__)), "<frozen ")):
            lines.append("%s:%d: in %s" % (os.path.relpath(frame.filename), frame.lineno, frame.name))
            lines.append("    %s" % (frame.line or ""))
    text = "%s: %s" % (kind.__name__, value)
    return "\n".join(lines + ["E   " + line for line in text.splitlines()])


def _load(path, root):
    """Import a test file as pytest would by default: from the folder above its outermost package."""
    folder, name = os.path.split(os.path.join(root, path))
    module = os.path.splitext(name)[0]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        module = package + "." + module
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(module)


def _flat(suite):
    found = []
    pending = [suite]
    while pending:
        item = pending.pop()
        if isinstance(item, unittest.TestSuite):
            pending.extend(reversed(list(item)))
        else:
            found.append(item)
    return found


def _collect(channel, settings, probe):
    """(tests, names by id of test) of the files, those not wanted left out."""
    chosen = None if settings["select"] is None else set(settings["select"])
    unwanted = set(settings["skip"])
    tests, names, shared = [], {}, []
    for path in settings["files"]:
        scope = "scope:" + path
        probe.begin(scope)
        try:
            module = _load(path, settings["root"])
            probe.foreign.add(module.__name__)
            found = _flat(unittest.defaultTestLoader.loadTestsFromModule(module))
        except BaseException as error:
            text = _traceback_text((type(error), error, error.__traceback__))
            channel.send("uncollected", name=path, text=perforch_probe.shortened(text))
            continue
        for test in found:
            name = "::".join([path, type(test).__name__, getattr(test, "_testMethodName", test.id())])
            if name not in unwanted and (chosen is None or name in chosen):
                names[id(test)] = name
                tests.append(test)
                if scope in probe.reached:
                    shared.append(name)
    return tests, names, shared


def preload():
    """Nothing more than what is imported here already."""


def run(channel, settings, probe):
    """Serve one run."""
    tests, names, shared = _collect(channel, settings, probe)
    for start in range(0, len(tests), 500):
        channel.send("collected", names=[names[id(test)] for test in tests[start : start + 500]])
    result = Result(channel, probe, names, settings)
    result.buffer = True
    result.failfast = settings["first_failure"]
    status = 0
    try:
        unittest.TestSuite(tests).run(result)
    except BaseException as error:
        status = -1
        channel.send("stopped", text=perforch_probe.shortened("%s: %s" % (type(error).__name__, error)))
    perforch_probe.finish(channel, settings, status=status, shared=shared)


if __name__ == "__main__":
    perforch_probe.serve("unittest", "%d.%d" % sys.version_info[:2], preload, run)
