"""System calls of the runtime that fail, or at which it dies: chosen one by one, from outside.

A seccomp filter hands every call of the runtime and of its children to this process, which lets it
happen, answers it with an errno, or kills the caller instead. Nothing of the runtime is replaced:
what it meets is what a kernel without memory, descriptors or room would tell it.

Source: seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.agent import CONTINUE, NOTIF_RECV, NOTIF_SEND
from harness.runtime import Result, Runtime, wait_until

SECCOMP, PIDFD_GETFD = 317, 438
SET_MODE_FILTER, NEW_LISTENER = 1, 8
ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000
KILL = -1  # a decision: no errno, but SIGKILL for the caller

# Calls that are not asked about: they cannot fail, or failing they would have done their work all
# the same (close), or the harness itself needs them (tgkill, to stop before the program begins).
PASSED = ("exit", "exit_group", "rt_sigreturn", "tgkill", "close", "munmap", "futex", "sched_yield",
          "rt_sigaction", "rt_sigprocmask", "getpid", "gettid", "getuid", "geteuid", "getgid",
          "getegid", "umask", "clock_gettime", "set_robust_list", "rseq", "arch_prctl",
          "set_tid_address", "restart_syscall", "kill", "pidfd_send_signal")  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
_resolver = ctypes.CDLL("libseccomp.so.2")
_resolver.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p


class Call(NamedTuple):
    """One system call: the `nth` of this `name` by the `process`th process, the runtime being 0."""

    process: int
    name: str
    nth: int


Decide = Callable[[Call], int]  # 0: let it happen; KILL; else the errno


def name_of(number: int) -> str:
    """Name a system call of this machine."""
    pointer = _resolver.seccomp_syscall_resolve_num_arch(0xC000003E, number)
    return ctypes.string_at(pointer).decode() if pointer else f"#{number}"


def number_of(name: str) -> int:
    return int(_resolver.seccomp_syscall_resolve_name(name.encode()))


def _program() -> bytes:
    """Write the filter: PASSED go through, everything else is asked about (classic BPF)."""
    numbers = [number_of(name) for name in PASSED]
    code = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for place, number in enumerate(numbers):
        code.append(struct.pack("HBBI", 0x15, len(numbers) - place, 0, number))
    code.append(struct.pack("HBBI", 0x06, 0, 0, NOTIFY))
    code.append(struct.pack("HBBI", 0x06, 0, 0, ALLOW))
    return b"".join(code)


class Watch:
    """Everything that calls started by `spawn` do, for as long as the block lasts.

    `decide` may be exchanged at any time. `calls` is what was seen, `hits` what was not let happen.
    The processes of a container that outlives its `create` stay watched.
    """

    def __init__(self, decide: Decide | None = None) -> None:
        self.decide: Decide = decide or (lambda _: 0)
        self.calls: list[Call] = []
        self.hits: list[Call] = []
        self._beginning = 0
        self._processes: list[int] = []
        self._counts: dict[tuple[int, str], int] = {}
        self._code = ctypes.create_string_buffer(_program())
        self._filter = ctypes.create_string_buffer(
            struct.pack("H6xQ", (len(self._code) - 1) // 8, ctypes.addressof(self._code))
        )
        self._stop_read, self._stop_write = os.pipe()
        self._listeners: list[int] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop_write)
        for thread in self._threads:
            thread.join(10)
        for fd in (self._stop_read, *self._listeners):
            os.close(fd)

    def begin(self, decide: Decide | None = None) -> None:
        """Forget what was seen, count anew, and decide otherwise from now on."""
        self.decide = decide or (lambda _: 0)
        self.calls, self.hits, self._counts = [], [], {}
        self._processes = []

    def run(self, runtime: Runtime, *words: str | Path, timeout: float = 30.0) -> Result:
        """Make one call of the runtime below the watch; its `Result`."""
        result = runtime.prepare(*words)
        pid = self._start(result.argv, result.files)
        pidfd = os.pidfd_open(pid)
        try:
            if not select.select([pidfd], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"no end after {timeout} s: {self.hits}\n{result.story()}")
        finally:
            os.close(pidfd)
        result.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return result

    def _start(self, argv: list[str], files: Path) -> int:
        """Start a program below the filter, and a thread that answers for it."""
        outputs = [os.open("/dev/null", os.O_RDONLY)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        outputs += [os.open(files.with_suffix(end), flags, 0o644) for end in (".out", ".err")]
        pid = os.fork()
        if pid == 0:
            try:
                for fd, given in enumerate(outputs):
                    os.dup2(given, fd)
                _libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, self._filter)
                # Order: nothing of the program happens before somebody has begun to answer.
                _libc["raise"](signal.SIGSTOP)
                os.execv(argv[0], argv)
            finally:
                os._exit(126)
        for fd in outputs:
            os.close(fd)
        listener = wait_until(lambda: _take_listener(pid, self._listeners), "a listener")
        self._listeners.append(listener)
        self._beginning, self._processes = pid, [pid]
        self._threads.append(threading.Thread(target=self._answer, args=(listener,)))
        self._threads[-1].start()
        os.waitpid(pid, os.WUNTRACED)
        os.kill(pid, signal.SIGCONT)
        return pid

    def _answer(self, listener: int) -> None:
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if self._stop_read in events or not events[listener] & select.POLLIN:
                return
            notification = bytearray(80)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, notification)
                number, pid, _, call = struct.unpack_from("=QIIi", notification)
                errno = self._decision(pid, call)
                if errno == KILL:
                    os.kill(pid, signal.SIGKILL)
                    continue
                answer = struct.pack("=QqiI", number, 0, -errno, 0 if errno else CONTINUE)
                fcntl.ioctl(listener, NOTIF_SEND, answer)
            except (FileNotFoundError, ProcessLookupError):  # the caller was killed meanwhile
                continue

    def _decision(self, pid: int, number: int) -> int:
        name = name_of(number)
        if pid == self._beginning:  # it is still ours, up to execve
            if name == "execve":
                self._beginning = 0
            return 0
        if pid not in self._processes:
            self._processes.append(pid)
        process = self._processes.index(pid)
        nth = self._counts[process, name] = self._counts.get((process, name), -1) + 1
        call = Call(process, name, nth)
        self.calls.append(call)
        if errno := self.decide(call):
            self.hits.append(call)
        return errno


def _take_listener(pid: int, inherited: list[int]) -> int:
    """Take our own copy of the descriptor by which a process is answered for; 0: not there yet."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if int(name) in inherited:
                continue
            if "seccomp notify" not in os.readlink(f"/proc/{pid}/fd/{name}"):
                continue
        except FileNotFoundError:
            continue
        pidfd = os.pidfd_open(pid)
        fd = int(_libc.syscall(PIDFD_GETFD, pidfd, int(name), 0))
        os.close(pidfd)
        return fd
    return 0
