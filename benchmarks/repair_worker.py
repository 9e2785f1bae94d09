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
import time

FILE = "<candidate>"


class TookTooLong(BaseException):
    """The check used more CPU time than it may."""


def main():
    channel = socket.socket(fileno=int(os.environ["PERFORCH_CHANNEL"]))
    sys.stdout = io.StringIO()
    signal.signal(signal.SIGPROF, alarm)
    signal.signal(signal.SIGALRM, alarm)
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
    """The "results" of the checks in order, the "lines" each ran when traced, the slowest passing one's "seconds".

    "late" says that one was cut off. Stops at the first failure unless "all" are wanted.
    """
    sys.stdout.seek(0)
    sys.stdout.truncate()
    results, lines, slowest = [], [], 0.0
    namespace = {"__name__": "candidate"}
    try:
        with_limit(2.0, signal.ITIMER_PROF, lambda: exec(compile(message["text"], FILE, "exec"), namespace))
    except BaseException as error:
        return {"results": [False] * len(checks), "lines": [[]] * len(checks), "error": repr(error)[:200]}
    order = message.get("order") or range(len(checks))
    timer = signal.ITIMER_REAL if message.get("quick") else signal.ITIMER_PROF
    late = False
    for index in order:
        seen = set()
        began = time.process_time()
        answer = run(checks[index][1], namespace, message["seconds"], timer, seen if message.get("trace") else None)
        passed, late = answer is True, late or answer is None
        results.append(passed)
        slowest = max(slowest, time.process_time() - began) if passed else slowest
        lines.append(sorted(seen))
        if not passed and not message.get("all"):
            break
    return {"results": results, "lines": lines, "seconds": slowest, "late": late}


def run(code, namespace, seconds, timer, seen):
    """True: passed, False: failed, None: took too long."""

    def trace(frame, event, argument):
        if frame.f_code.co_filename != FILE:
            return None
        if event == "line":
            seen.add(frame.f_lineno)
        return trace

    try:
        if seen is not None:
            sys.settrace(trace)
        with_limit(seconds, timer, lambda: exec(code, namespace))
        return True
    except TookTooLong:
        return None
    except BaseException:
        return False
    finally:
        sys.settrace(None)


def with_limit(seconds, timer, work):
    # Again and again, for a candidate may catch everything; a single late alarm outside is harmless to miss.
    signal.setitimer(timer, seconds, max(seconds, 0.01))
    try:
        work()
    finally:
        signal.setitimer(timer, 0)


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
