"""`python -m tests.lab`: run tests, or any command, in the lab. See `make lab` and docs/lab.md."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import chapters, snapshot  # the path comes first
from lab.cache import DEFINITION, REPO, LabError, cache_folder, say
from lab.kernel import kernel
from lab.payload import payload
from lab.vm import Hardware

WORK = REPO / "build" / "lab"
INSIDE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    "PATH": f"/opt/lab/bin:{INSIDE}",
    "CI": "true",
    "OCIRUN": "/opt/lab/bin/ocirun",
    "OCIRUN_PATIENCE": "4",
    "OCIRUN_PROBE": "/opt/lab/probe",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
}
PYTEST = ["/opt/lab/bin/pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=300"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--kernel", default="6.12", help="a series that Debian has: 6.12, 6.1")
    parser.add_argument("--user", default="root", help="root, or u1 below its own systemd")
    parser.add_argument("--command", metavar="TEXT", help="a shell command instead of tests")
    parser.add_argument("--accel", default="tcg,thread=multi", help="as QEMU's -accel: kvm, tcg")
    parser.add_argument("--memory", type=int, default=2048, help="in MiB")
    parser.add_argument("--append", default="", help="more words for the kernel")
    parser.add_argument("--limit", type=float, default=3600, help="seconds until it is stopped")
    parser.add_argument("--only-make", action="store_true", help="make the parts and run nothing")
    parser.add_argument("tests", nargs="*", help="what pytest gets; nothing: the lab's chapters")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        say("making the machine needs root: sudo")
        return 1
    users = [options.user]
    if options.user not in ("root", DEFINITION["user"]["name"]):
        say(f"no user {options.user} in the lab: root or {DEFINITION['user']['name']}")
        return 1
    try:
        cache = cache_folder()
        hardware = Hardware(
            kernel(cache, options.kernel),
            accelerator=options.accel,
            memory_mb=options.memory,
            append=options.append,
        )
        disk = payload(cache, WORK)
        if options.only_make:
            return 0
        return max(run(cache, hardware, disk, user, options) for user in users)
    except LabError as error:
        say(str(error))
        return 1


def run(cache: Path, hardware: Hardware, disk: Path, user: str, options: argparse.Namespace) -> int:
    """Run it in a machine of its own; its exit status."""
    out = WORK / "results"
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o1777)  # the user inside writes there too
    if options.command:
        command = ["/bin/bash", "-c", options.command]
    else:
        tests = options.tests or ["--lab-only", *chapters.files()]
        name = f"{options.kernel}-{user}"
        command = [*PYTEST, f"--junitxml=/out/{name}.xml", "-o", f"junit_suite_name={name}", *tests]
        say(f"kernel {options.kernel}, as {user}: pytest {shlex.join(tests)}")
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    started = time.monotonic()
    machine = None
    try:
        folders = {"host": REPO, "out": out}
        machine = snapshot.restored(cache, hardware, disk, folders, scratch)
        who = "" if user == "root" else user
        machine.tell_agent(snapshot.request(command, who, "/host", ENVIRONMENT))
        for kind, data in machine.frames(options.limit):
            if kind == "X":
                say(f"ended after {time.monotonic() - started:.0f} s")
                return int(struct.unpack(">I", data)[0])
            stream = sys.stdout if kind == "O" else sys.stderr
            stream.buffer.write(data)
            stream.flush()
    except TimeoutError as error:
        console = (scratch / "console").read_text(errors="replace")[-2000:]
        raise LabError(f"not done after {options.limit:.0f} s; it is stopped. {console}") from error
    finally:
        if machine is not None:
            machine.stop()
        shutil.rmtree(scratch)
    return 1


if __name__ == "__main__":
    sys.exit(main())
