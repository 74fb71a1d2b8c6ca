"""A main for `ocirun.cli.launcher` that prints what a program can see of itself, as JSON."""
# ruff: noqa: T201

from __future__ import annotations

import _signal
import _thread
import gc
import os
import sys
import time


def stream(name: str) -> object:
    """Everything about one of the standard streams."""
    it = getattr(sys, name)
    if it is None:
        return None
    raw = it.buffer.raw
    return {
        "text": [type(it).__name__, it.name, it.mode, it.encoding, it.errors, it.newlines],
        "flushing": [it.line_buffering, it.write_through],
        "file": [it.fileno(), it.isatty()],
        "raw": [type(it.buffer).__name__, type(raw).__name__, raw.name, raw.mode, raw.closefd],
        "dunder": it is getattr(sys, f"__{name}__"),
    }


def status(name: str) -> str:
    """A line of /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))


def known_calls() -> float:
    """The part of the table of the C library's functions that is filled in; for fixed addresses."""
    import struct

    with open("/proc/self/exe", "rb") as program, open("/proc/self/mem", "rb") as memory:
        header = program.read(64)
        (table,), (count,) = (
            struct.unpack_from("<Q", header, 32),
            struct.unpack_from("<H", header, 56),
        )
        program.seek(table)
        parts = list(struct.iter_unpack("<IIQQQQQQ", program.read(56 * count)))
        code_end = max(
            at + size for kind, flags, _, at, _, size, *_ in parts if (kind, flags) == (1, 5)
        )
        (at, size) = next((part[3], part[6]) for part in parts if part[0] == 2)
        memory.seek(at)
        dynamic = dict(struct.iter_unpack("<QQ", memory.read(size)))
        memory.seek(dynamic[23])  # DT_JMPREL
        slots = [slot for slot, *_ in struct.iter_unpack("<QQQ", memory.read(dynamic[2]))]
        memory.seek(slots[0])
        addresses = struct.unpack(f"<{len(slots)}Q", memory.read(8 * len(slots)))
    return sum(address >= code_end for address in addresses) / len(addresses)


def new_in_the_image() -> int:
    """How many of our first objects lie in memory that was mapped from a snapshot."""
    first: list[object] = [[] for _ in range(20)]
    first += [{} for _ in range(20)]
    places = [id(one) for one in first]
    with open("/proc/self/maps") as file:
        ranges = [line.split()[0].split("-") for line in file if line.endswith("/snapshot\n")]
    return sum(int(lo, 16) <= at < int(hi, 16) for at in places for lo, hi in ranges)


def main() -> None:
    """Print the report; `snapshot` is still the real verb."""
    in_the_image = new_in_the_image()
    if sys.argv[1:2] == ["snapshot"]:
        from ocirun.cli.commands.snapshot import run

        os._exit(run(None))
    if sys.argv[1:2] == ["forbid-libm"]:
        import math

        import _ocirun_calls

        _ocirun_calls.forbid_libm()
        os.write(1, str(math.floor(1.5)).encode())
        os.write(1, str(math.sin(1)).encode())
    handlers = {n: repr(_signal.getsignal(n)) for n in range(1, 65) if n not in {32, 33}}
    fds = sorted(os.listdir("/proc/self/fd"))
    import ctypes
    import decimal
    import hashlib
    import json
    import math
    import random
    import ssl
    import subprocess
    import threading
    import zlib

    ran = []
    os.register_at_fork(
        before=lambda: ran.append("before"),
        after_in_parent=lambda: ran.append("parent"),
        after_in_child=lambda: ran.append("child"),
    )
    pid = os.fork()
    if pid == 0:
        os._exit(7 if ran == ["before", "child"] else 8)
    forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    natives = []
    thread = threading.Thread(target=lambda: natives.append(threading.get_native_id()))
    thread.start()
    thread.join()
    try:
        int("x")
    except ValueError as error:
        complaint = str(error)
    same = {
        "argv": [sys.argv[1:], sys.orig_argv[1:]],
        "environ": dict(os.environ),
        "environb": sorted(map(repr, os.environb.items())),
        "path": sys.path,
        "prefix": [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.platlibdir],
        "flags": repr(sys.flags),
        "version": sys.version,
        "streams": [stream(name) for name in ("stdin", "stdout", "stderr")],
        "handlers": handlers,
        "signals": [status("SigIgn"), status("SigBlk"), status("SigCgt")],
        "zone": [time.tzname, time.timezone, time.altzone, time.daylight],
        "local time": time.strftime("%Z %z", time.localtime(0)),
        "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage],
        "idents": threading.main_thread().ident == _thread.get_ident(),
        "native ids": threading.main_thread().native_id == os.getpid() == threading.get_native_id(),
        "thread": natives != [os.getpid()],
        "fork": [ran, forked],
        "file system": [sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits()],
        "options": [sys.dont_write_bytecode, sys.warnoptions, "site" in sys.modules],
        "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace(), sys.getprofile()],
        "finders": [getattr(one, "__name__", type(one).__name__) for one in sys.meta_path],
        "path hooks": len(sys.path_hooks),
        "fds": fds,
        "folder": os.getcwd(),
        "child": subprocess.run(
            ["/bin/echo", "x"], capture_output=True, check=True
        ).stdout.decode(),
        "libraries": [zlib.crc32(b"x"), hashlib.sha256(b"x").hexdigest(), ssl.OPENSSL_VERSION],
        "rounded": [
            repr(act(x * sign))
            for act in (math.floor, math.ceil, round, lambda x: x // 1)
            for x in (0.0, 0.3, 0.5, 0.7, 1.0, 1.5, 2.5, 2.0**52 - 0.5, 2.0**52 + 1, 1e300)
            for sign in (1, -1)
        ],
        "curves": [math.sin(1), math.log(10), math.hypot(3, 4), math.fmod(-7, 3), math.sqrt(2)],
        "numbers": [2.0**0.5, float("1e300") * 1e10, 0.1 + 0.2, str(decimal.Decimal(1) / 3)],
        "sizes": ctypes.sizeof(ctypes.c_long),
        "complaint": complaint,
    }
    fast = "_ocirun_calls" in sys.modules
    unlike = {
        "start": "fast" if fast else "cold",
        "known calls": known_calls() if fast else 0,
        "random": random.random(),
        "urandom": os.urandom(8).hex(),
        "hash": hash("a string"),
        # Small numbers are the interpreter's data, before the memory that it takes.
        "in heap": [id(thing) > id(5) for thing in ("posixpath", os.path.join.__code__)],
        "new in the image": in_the_image,
    }
    print(json.dumps({"same": same, "unlike": unlike}))
    sys.stdout.flush()
    os._exit(0)
