"""A sandbox for code that nobody trusts: limits, a time-out, no network, nothing to write to.

    python examples/sandbox.py ROOTFS PROGRAM [ARGUMENT…]

ROOTFS is a directory with the files of an image. Prints what the program wrote, and how it ended.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import ocirun


@dataclass(frozen=True)
class Outcome:
    """How a program ended: `verdict` in a word, and what it wrote."""

    verdict: str
    returncode: int | None
    output: str


def run_untrusted(
    rootfs: str, args: Sequence[str], *, stdin: str = "", seconds: float = 5
) -> Outcome:
    """Run `args` on `rootfs` for `seconds` at most, as nobody, and return how that ended."""
    spec = ocirun.Spec(
        args,
        rootfs,
        user=(65534, 65534),
        readonly=True,
        mounts=["/tmp"],
        memory="128M",
        cpus=1,
        pids=32,
        network="none",
        capabilities=[],
        seccomp="default",
    )
    try:
        done = ocirun.run(
            config=spec,
            input=stdin,
            stdout=ocirun.PIPE,
            stderr=ocirun.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except ocirun.TimeoutExpired as error:
        return Outcome("timeout", None, error.output or "")
    verdict = "ok" if done.returncode == 0 else "killed" if done.returncode < 0 else "failed"
    return Outcome(verdict, done.returncode, done.stdout)


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    outcome = run_untrusted(sys.argv[1], sys.argv[2:])
    print(outcome.output, end="")
    print(f"{outcome.verdict} ({outcome.returncode})", file=sys.stderr)
    return 0 if outcome.verdict == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
