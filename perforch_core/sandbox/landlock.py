"""Landlock by plain system calls: a process gives up every path that is not listed. Standard library only.

The numbers are those of the kernel's include/uapi/linux/landlock.h; what each version adds is in
Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_FILESYSTEM = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 3
_SCOPES = 3  # abstract unix sockets, signals
SIGNAL_SCOPE_VERSION = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("filesystem", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, _libc().syscall(_CREATE_RULESET, None, 0, 1))


def prepare(*, readable: Iterable[str], writable: Iterable[str], network: bool, own_proc: bool, version: int) -> int:
    """A ruleset that allows these folders (those that exist) and nothing else. Raises OSError.

    `own_proc`: what /proc says of the calling process itself may be read too.
    """
    filesystem = _FILESYSTEM[max(v for v in _FILESYSTEM if v <= version)]
    attributes = _Ruleset(filesystem, 0 if network or version < 4 else _TCP, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _checked(_libc().syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0))
    for path in readable:
        _allow(ruleset, path, _READ & filesystem)
    if own_proc:
        _allow(ruleset, f"/proc/{os.getpid()}", _READ & filesystem)
    for path in writable:
        _allow(ruleset, path, filesystem & ~_IOCTL_DEVICE)
    return ruleset


def restrict(ruleset: int) -> None:
    """Bind this process and its descendants to `ruleset`. Needs no_new_privs. Raises OSError."""
    _checked(_libc().syscall(_RESTRICT_SELF, ruleset, 0))


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _ON_FILES
        rule = _Beneath(access, descriptor)
        _checked(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
