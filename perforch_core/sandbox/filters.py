"""Seccomp programs: what the kernel refuses, by policy. Built once with libseccomp and kept as bytes."""

from __future__ import annotations

import errno
import functools
import os
import socket
import sys
from typing import Any

from perforch_core.sandbox.interface import Policy

# Reached by no program we judge, and each has been a way out of a sandbox or into the kernel.
_NEVER = (
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    "mount", "umount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig",
    "fspick", "mount_setattr", "unshare", "setns", "keyctl", "add_key", "request_key", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_secret", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "acct",
    "quotactl", "open_by_handle_at", "name_to_handle_at", "iopl", "ioperm", "modify_ldt", "syslog", "settimeofday",
    "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "vhangup", "nfsservctl",
    "lookup_dcookie", "fanotify_init", "migrate_pages", "move_pages", "mbind", "vmsplice",
)  # fmt: skip

# Memory that counts against no limit of a process, and queues that outlive it.
_UNCOUNTED = ("memfd_create", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open", "mq_unlink")

# Landlock does not hold changes of mode, owner, times and extended attributes.
_PERMISSIONS = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
    "futimesat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat",
)  # fmt: skip

OWN_PID = b"PID!"
"""Stands in a program for the pid of the process that loads it."""

_NAMESPACES = 0x7E020080  # CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
_CLONE_THREAD = 0x00010000
_SHARED_ANONYMOUS = 0x21  # MAP_SHARED | MAP_ANONYMOUS; matches MAP_SHARED_VALIDATE too
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_LOCAL_FAMILIES = {
    Policy.PREPARE: (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK),
    Policy.COMPILE: (socket.AF_UNIX,),
    Policy.TEST: (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK),
    Policy.RUN: (),
}


@functools.cache
def program(policy: Policy, *, may_fork: bool = False, namespaces: bool = True, scoped_signals: bool = True) -> bytes:
    """The filter of a whole sandboxed tree. Without namespaces it has to refuse more, the more so where Landlock

    does not keep signals within the sandbox. It may contain OWN_PID, see there.

    execve stays allowed here, because the program itself is started after the filter is in place.
    Raises OSError or ImportError when libseccomp cannot be used.
    """
    rules = _Rules()
    rules.deny(*_NEVER)
    rules.deny_namespaces()
    rules.deny_terminal_injection()
    if namespaces:
        rules.families(_LOCAL_FAMILIES[policy])
    if policy is Policy.RUN:
        rules.deny(*_UNCOUNTED)
        rules.deny_shared_anonymous()
        if not may_fork:
            rules.deny_fork()
    if not namespaces:
        rules.deny_others()
        # A path to a socket is no file to Landlock: a program could reach the user's agents and daemons.
        rules.families((socket.AF_INET, socket.AF_INET6) if policy is Policy.PREPARE else ())
        if policy in (Policy.RUN, Policy.TEST):
            rules.deny(*_PERMISSIONS)
        if not scoped_signals:
            rules.deny_signals()
            if policy is Policy.RUN and not may_fork:
                rules.only_own_threads()
            else:
                rules.deny("tgkill")
    return rules.export()


@functools.cache
def no_fork() -> bytes:
    """The filter a zygote's child loads before it runs a candidate: no fork, exec, socket, or signal to others.

    Before loading it, the child should replace OWN_PID in it by its own pid in four native bytes, so that abort() and
    raise() work; as it is, they fail.
    """
    rules = _Rules()
    rules.deny(*_NEVER, *_UNCOUNTED, "execve", "execveat", "kill", "tkill", "pidfd_send_signal", "pidfd_open")
    rules.deny("rt_sigqueueinfo", "rt_tgsigqueueinfo", "setsid", "setpgid", "sendmmsg")
    rules.deny_namespaces()
    rules.families(())
    rules.deny_shared_anonymous()
    rules.deny_fork()
    rules.only_own_limits()
    rules.only_own_threads()
    return rules.export()


class _Rules:
    """A default-allow filter to which refusals are added; names that this libseccomp does not know are left out."""

    def __init__(self) -> None:
        import pyseccomp

        self._lib = pyseccomp
        self._filter = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        self._whole: set[str] = set()

    def deny(self, *names: str, code: int = errno.EPERM) -> None:
        for name in names:
            if name not in self._whole:
                self._whole.add(name)
                self._rule(code, name)

    def _rule(self, code: int, name: str, *conditions: Any) -> None:
        try:
            self._filter.add_rule(self._lib.ERRNO(code), name, *conditions)
        except (OSError, ValueError, RuntimeError, TypeError):
            if name in ("clone", "socket", "mmap", "ptrace"):
                raise

    def _masked(self, position: int, mask: int, value: int) -> Any:
        return self._lib.Arg(position, self._lib.MASKED_EQ, mask, value)

    def deny_namespaces(self) -> None:
        for bit in range(32):
            if _NAMESPACES & (1 << bit):
                self._rule(errno.EPERM, "clone", self._masked(0, 1 << bit, 1 << bit))
        # Its flags are behind a pointer that a filter cannot follow; libc falls back to clone on ENOSYS.
        self.deny("clone3", code=errno.ENOSYS)

    def deny_terminal_injection(self) -> None:
        for request in (_TIOCSTI, _TIOCLINUX):
            self._rule(errno.EPERM, "ioctl", self._masked(1, 0xFFFFFFFF, request))

    def deny_fork(self) -> None:
        self._rule(errno.EPERM, "clone", self._masked(0, _CLONE_THREAD, 0))
        self.deny("fork", "vfork")

    def deny_shared_anonymous(self) -> None:
        self._rule(errno.EPERM, "mmap", self._masked(3, _SHARED_ANONYMOUS, _SHARED_ANONYMOUS))

    def families(self, allowed: tuple[int, ...]) -> None:
        if not allowed:
            self.deny("socket", code=errno.EACCES)
            return
        lib = self._lib
        for family in range(max(allowed)):
            if family not in allowed:
                self._rule(errno.EACCES, "socket", lib.Arg(0, lib.EQ, family))
        self._rule(errno.EACCES, "socket", lib.Arg(0, lib.GT, max(allowed)))

    def only_own_limits(self) -> None:
        self._rule(errno.EPERM, "prlimit64", self._lib.Arg(0, self._lib.NE, 0))

    def deny_others(self) -> None:
        """What a pid namespace would otherwise make harmless: signals, limits and priorities of strangers."""
        self.only_own_limits()
        # A session is how we know a program's processes from others.
        self.deny("setpriority", "setsid", *_UNCOUNTED)
        self.deny("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr", "ioprio_set")

    def deny_signals(self) -> None:
        self.deny("kill", "tkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo")

    def only_own_threads(self) -> None:
        """Signals to threads of this process only, once OWN_PID in the program is replaced by its pid."""
        own = int.from_bytes(OWN_PID, sys.byteorder)
        self._rule(errno.EPERM, "tgkill", self._lib.Arg(0, self._lib.NE, own))

    def export(self) -> bytes:
        descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "w+b") as file:
            self._filter.export_bpf(file)
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
