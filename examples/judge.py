"""A tiny judge: it grades submissions by what they answer to each input of a task.

    python examples/judge.py ROOTFS FOLDER SUBMISSION

FOLDER has 1.in and 1.out, 2.in and 2.out, …; SUBMISSION is a script for /bin/sh, which sees its
input on stdin. Prints a verdict for each, and the points.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import ocirun

Verdict = Literal["accepted", "wrong answer", "time limit", "memory limit", "runtime error"]


def grade(rootfs: str, submission: Path, question: str, answer: str, seconds: float = 2) -> Verdict:
    """Return how `submission` answers one question."""
    spec = ocirun.Spec(
        ["sh", "/submission"],
        rootfs,
        user=(65534, 65534),
        mounts=[(str(submission), "/submission", "ro")],
        memory="64M",
        pids=16,
        capabilities=[],
        seccomp="default",
    )
    with ocirun.Container.create(
        None, spec, stdin=ocirun.PIPE, stdout=ocirun.PIPE, stderr=ocirun.DEVNULL, text=True
    ) as container:
        container.start()
        try:
            said, _ = container.communicate(question, timeout=seconds)
        except ocirun.TimeoutExpired:
            return "time limit"
        if container.returncode == -9:  # nobody but the kernel kills it
            return "memory limit"
        if container.returncode:
            return "runtime error"
        return "accepted" if said.split() == answer.split() else "wrong answer"


def grade_all(rootfs: str, folder: Path, submission: Path) -> dict[str, Verdict]:
    """Return the verdict for each question of the folder, by its name."""
    return {
        path.stem: grade(rootfs, submission, path.read_text(), path.with_suffix(".out").read_text())
        for path in sorted(folder.glob("*.in"))
    }


def main() -> int:
    rootfs, folder, submission = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    verdicts = grade_all(rootfs, folder, submission)
    for name, verdict in verdicts.items():
        print(f"{name}: {verdict}")
    points = list(verdicts.values()).count("accepted")
    print(f"{points} of {len(verdicts)} points")
    return 0 if points == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
