"""Runs inside the sandbox for the doctor: tries what it must refuse and prints one JSON object of attack -> breached.

Standard library only, valid for Python 3.8. It is trusted: it reports on the sandbox, not on itself. Its one argument
is a JSON object of what to try it on.
"""

# ruff: noqa: PTH101, PTH118, PTH123
from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    world = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)

    def refused(call: Callable[[], object]) -> bool:
        """Whether `call` fails, be it by an exception or by a negative result."""
        try:
            result = call()
        except (OSError, ValueError, MemoryError, RuntimeError):
            return True
        return result is False or (isinstance(result, int) and not isinstance(result, bool) and result < 0)

    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        return pid

    def write() -> int:
        for place in world["writable"]:
            with contextlib.suppress(OSError), open(os.path.join(place, "perforch-probe"), "w") as file:
                file.write("x")
                return 1
        return -1

    def read() -> int:
        for path in world["secrets"]:
            with contextlib.suppress(OSError), open(path) as file:
                return len(file.read(1))
        return -1

    def environment() -> int:
        return 1 if any(world["variable"] in text for text in (*os.environ, *os.environ.values())) else -1

    def descriptors() -> int:
        channel = int(os.environ.get("PERFORCH_CHANNEL", "-1"))
        for number in range(3, 1024):
            with contextlib.suppress(OSError):
                os.fstat(number)
                if number != channel:
                    return 1
        return -1

    def connect() -> int:
        for address in (("127.0.0.1", world["port"]), world["socket"]):
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            with contextlib.suppress(OSError):
                with socket.socket(family) as sock:
                    sock.settimeout(0.5)
                    sock.connect(tuple(address) if isinstance(address, list) else address)
                return 1
        return -1

    def ask_for_memory() -> int:
        return len(bytearray(world["memory"] * 4))

    def leave() -> int:
        return -1 if refused(lambda: libc.memfd_create(b"x", 0)) and refused(lambda: mmap.mmap(-1, 4096)) else 1

    victim = world["bystander"]
    attempts = {
        "fork bomb": fork,
        "write outside": write,
        "change permissions": lambda: os.chmod(world["owned"], 0o777),
        "read secrets": read,
        "environment": environment,
        "inherited descriptors": descriptors,
        "network": connect,
        "signals to others": lambda: os.kill(victim, signal.SIGUSR1),
        "ptrace": lambda: libc.ptrace(16, victim, 0, 0),
        "new namespaces": lambda: libc.unshare(0x10000000),
        "setuid programs": lambda: -1 if libc.prctl(39, 0, 0, 0, 0) == 1 else 1,
        "device and IPC leftovers": leave,
        "limits of others": lambda: resource.prlimit(victim, resource.RLIMIT_CPU, (1, 1)) and 1,
        "memory of one process": ask_for_memory,
    }
    print(json.dumps({name: not refused(attempt) for name, attempt in attempts.items()}))


main()
