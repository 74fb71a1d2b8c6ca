"""`python -m tests.lab`: run tests, or any command, in the lab. See `make lab` and docs/lab.md."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import chapters, table  # the path comes first
from lab.cache import DEFINITION, REPO, LabError, NoMirror, cache_folder, choose_release, say
from lab.image import check_mirror
from lab.kernel import kernel
from lab.payload import payload
from lab.session import Lab
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
    **{name: os.environ[name] for name in ("OCIRUN_BARS",) if name in os.environ},
}
PYTEST = ["/opt/lab/bin/pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=300"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--release", default="bookworm", help="of Debian: bookworm, trixie")
    parser.add_argument("--kernel", default="6.12", help="a series that Debian has: 6.12, 6.1")
    parser.add_argument("--user", help="root, or u1 below its own systemd; without tests both")
    parser.add_argument("--command", metavar="TEXT", help="a shell command instead of tests")
    parser.add_argument("--accel", default="tcg,thread=multi", help="as QEMU's -accel: kvm, tcg")
    parser.add_argument("--memory", type=int, default=2048, help="in MiB")
    parser.add_argument("--append", default="", help="more words for the kernel")
    parser.add_argument("--limit", type=float, default=3600, help="seconds until it is stopped")
    parser.add_argument("--skip-offline", action="store_true", help="no mirror is no failure")
    parser.add_argument("--only-make", action="store_true", help="make the parts and run nothing")
    parser.add_argument("tests", nargs="*", help="what pytest gets; nothing: the lab's chapters")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clears up as after an error
    if os.geteuid() != 0:
        say("making the machine needs root: sudo")
        return 1
    both = ["root", DEFINITION["user"]["name"]]
    whole = not options.tests and not options.command
    users = [options.user] if options.user else both if whole else both[:1]
    if users[0] not in both:
        say(f"no user {users[0]} in the lab: {' or '.join(both)}")
        return 1
    try:
        choose_release(options.release)
        cache = cache_folder()
        check_mirror(cache, options.kernel)
        hardware = Hardware(
            kernel(cache, options.kernel),
            accelerator=options.accel,
            memory_mb=options.memory,
            append=options.append,
        )
        disk = payload(cache, WORK / options.release)
        if options.only_make:
            return 0
        lab = Lab(cache, hardware, disk, WORK / "results", options.limit)
        if options.command:
            return lab.run(["/bin/bash", "-c", options.command], users[0], ENVIRONMENT)
        return max([run_tests(lab, user, options.tests, options) for user in users])
    except LabError as error:
        skip = options.skip_offline and isinstance(error, NoMirror)
        say(f"skipped: {error}" if skip else str(error))
        return 0 if skip else 1


def run_tests(lab: Lab, user: str, tests: list[str], options: argparse.Namespace) -> int:
    """Run pytest in the lab; without `tests` the chapters that are for it. Its exit status."""
    kind = "root" if user == "root" else "user"
    words = tests or ["--lab-only", *chapters.files(kind)]
    name = f"{options.kernel}-{user}"
    if options.release != "bookworm":
        name = f"{options.release}-{name}"
    said = f"Debian {DEFINITION['suite']}, kernel {options.kernel}, as {user}"
    say(f"{said}: pytest {shlex.join(words)}")
    status = lab.run([*PYTEST, f"--junitxml=/out/{name}.xml", *words], user, ENVIRONMENT)
    # Whole files only: the counts of a selection would say less than the page does.
    if tests and not any("::" in word or word.startswith("-") for word in tests):
        table.update(name, [lab.out / f"{name}.xml"])
    return status


if __name__ == "__main__":
    sys.exit(main())
