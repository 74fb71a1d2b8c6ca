"""Calling programs and waiting for what they do."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

TIMEOUT_S = 60.0
DAEMON_TIMEOUT_S = 60.0


class Outcome(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def expect(self, code: int = 0) -> Outcome:
        """Assert the exit status; what was said is the failure's text."""
        assert self.code == code, f"status {self.code}, not {code}: {self.said}"
        return self


def call(
    *words: str | Path,
    env: dict[str, str] | None = None,
    folder: Path | None = None,
    patience: float = TIMEOUT_S,
    become: Callable[[], None] | None = None,
) -> Outcome:
    """Run a program to its end, in `folder` when given, without standard input.

    With `become`, which makes the child somebody else, `env` is all of its environment and the
    session is its own.

    Raises:
        subprocess.TimeoutExpired: it took longer than `patience` seconds.
    """
    done = subprocess.run(
        words,
        env={**({} if become else os.environ), **(env or {})},
        preexec_fn=become,
        start_new_session=become is not None,
        check=False,
        capture_output=True,
        timeout=patience,
        stdin=subprocess.DEVNULL,
        cwd=folder,
    )
    return Outcome(
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )


def call_on_terminal(
    *words: str | Path,
    given: bytes = b"",
    folder: Path | None = None,
    become: Callable[[], None] | None = None,
) -> Outcome:
    """Run a program with a terminal as its stdio, made by script(1); \\r\\n becomes \\n.

    `given` is typed after a moment, and the terminal is kept open until the program ends.
    """
    line = shlex.join(str(word) for word in words)
    with subprocess.Popen(
        ["script", "-qefc", line, "/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        preexec_fn=become,  # noqa: PLW1509  # as above
    ) as terminal:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        if given:
            time.sleep(1.5)  # a client may drop what is typed before it has the terminal in hand
            terminal.stdin.write(given)
            terminal.stdin.flush()
        said = terminal.stdout.read().decode(errors="replace").replace("\r\n", "\n")
        return Outcome(terminal.wait(TIMEOUT_S), said, "")


def wait_until(true: Callable[[], object], what: str, patience: float = 15.0) -> None:
    """Poll until `true()`; fails naming `what` after `patience` seconds."""
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"waited {patience} s for {what}"
        time.sleep(0.05)


def wait_for_daemon(
    process: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    log: Path,
    what: str,
    *,
    named: bool = False,
) -> None:
    """Wait until a daemon answers; skip, with its last word, where the machine does not let it.

    No runtime has been called by then: what keeps it from starting is never ours. One that was
    `named` by whoever called is wanted, so it is a failure then.
    """
    end = time.monotonic() + DAEMON_TIMEOUT_S
    while not answers():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            last = log.read_text(errors="replace").splitlines()[-1:] or ["it says nothing"]
            end_test = pytest.fail if named else pytest.skip
            end_test(f"this machine does not start {what}: {last[0]}")
        time.sleep(0.05)
