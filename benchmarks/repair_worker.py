"""Runs inside the sandbox for benchmarks/repair.py: executes candidates and says which checks they pass.

Standard library only. It is fed JSON messages (4 bytes length, big-endian, then the text) over the descriptor named in
PERFORCH_CHANNEL and answers each with one. The candidates come from our own rules, so a candidate that would forge an
answer is no concern here; endless loops and crashes are.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import sys

FILE = "<candidate>"


class TookTooLong(BaseException):
    """The check used more CPU time than it may."""


def main():
    channel = socket.socket(fileno=int(os.environ["PERFORCH_CHANNEL"]))
    sys.stdout = io.StringIO()
    signal.signal(signal.SIGPROF, alarm)
    checks = []
    while True:
        message = receive(channel)
        if message is None:
            return
        if "checks" in message:
            checks = [(name, compile(code, "<check>", "exec")) for name, code in message["checks"]]
            answer = {}
        else:
            answer = judge(message, checks)
        send(channel, answer)


def judge(message, checks):
    """{"results": [true, false...], "lines": [[...]...] when traced}; stops at the first failure unless "all"."""
    sys.stdout.seek(0)
    sys.stdout.truncate()
    results, lines = [], []
    namespace = {"__name__": "candidate"}
    try:
        with_limit(message["seconds"], lambda: exec(compile(message["text"], FILE, "exec"), namespace))
    except BaseException as error:
        return {"results": [False] * len(checks), "lines": [[]] * len(checks), "error": repr(error)[:200]}
    order = message.get("order") or range(len(checks))
    for index in order:
        seen = set()
        passed = run(checks[index][1], namespace, message["seconds"], seen if message.get("trace") else None)
        results.append(passed)
        lines.append(sorted(seen))
        if not passed and not message.get("all"):
            break
    return {"results": results, "lines": lines}


def run(code, namespace, seconds, seen):
    def trace(frame, event, argument):
        if frame.f_code.co_filename != FILE:
            return None
        if event == "line":
            seen.add(frame.f_lineno)
        return trace

    try:
        if seen is not None:
            sys.settrace(trace)
        with_limit(seconds, lambda: exec(code, namespace))
        return True
    except BaseException:
        return False
    finally:
        sys.settrace(None)


def with_limit(seconds, work):
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.01)
    try:
        work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def alarm(number, frame):
    raise TookTooLong


def receive(channel):
    head = exactly(channel, 4)
    return json.loads(exactly(channel, struct.unpack(">I", head)[0])) if head else None


def exactly(channel, count):
    data = b""
    while len(data) < count:
        piece = channel.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return data


def send(channel, answer):
    data = json.dumps(answer).encode()
    channel.sendall(struct.pack(">I", len(data)) + data)


main()
