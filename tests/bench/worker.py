"""One process per contender that starts its commands and measures them.

Each contender has the same kind of worker, so that what a start costs is the same for all. Only
crun's leaves for a mount namespace without the bare v2 tree, once, when it begins (clients.md).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from harness import machine


class Timing(NamedTuple):
    """What one command took, and how it ended.

    Milliseconds on the wall; exit status; its words; milliseconds of CPU and page faults of the
    command with the processes it has waited for. What it leaves behind, as init after create, is
    not among them.
    """

    ms: float
    status: int
    said: str
    cpu_ms: float = 0.0
    faults: int = 0


class Worker:
    """A forked process that runs commands one after another."""

    def __init__(self, name: str, path: str, folder: Path, root: Path) -> None:
        self.name = name
        self.path = path
        self.folder = folder
        folder.mkdir()
        self.root = root  # the state root
        ask_read, ask_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ask_write)
            os.close(answer_read)
            self._serve(ask_read, answer_write)
        os.close(ask_read)
        os.close(answer_write)
        self._ask = os.fdopen(ask_write, "w", buffering=1)
        self._answer = os.fdopen(answer_read)

    def run(self, *words: str | Path) -> Timing:
        """Run `RUNTIME --root R WORDS` and wait for its end."""
        return self.run_program(self.path, "--root", self.root, *words)

    def run_program(self, *words: str | Path) -> Timing:
        """Run any program in this contender's surroundings."""
        argv = [str(word) for word in words]
        self._ask.write(json.dumps(argv) + "\n")
        return Timing(*json.loads(self._answer.readline()))

    def must(self, *words: str | Path) -> Timing:
        """Run a command that has to succeed; raises RuntimeError with what it said."""
        timing = self.run(*words)
        if timing.status:
            raise RuntimeError(f"{self.name} {words[0]}: {timing.said.strip()}")
        return timing

    def close(self) -> None:
        # A word, not the end of the pipe: workers forked later hold its other end open too.
        self._ask.write("null\n")
        self._ask.close()
        self._answer.close()
        os.waitpid(self.pid, 0)

    def _serve(self, ask: int, answer: int) -> None:
        try:
            machine.become_subreaper()
            if self.name == "crun":
                machine.leave_unified_tree()
            with os.fdopen(ask) as questions, os.fdopen(answer, "w", buffering=1) as answers:
                while argv := json.loads(questions.readline()):
                    answers.write(json.dumps(self._measure(argv)) + "\n")
        finally:
            os._exit(0)

    def _measure(self, argv: list[str]) -> list[Any]:
        said = self.folder / "said"
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        began = time.perf_counter_ns()
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        took = time.perf_counter_ns() - began
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # containers of this worker that have ended
        code = os.waitstatus_to_exitcode(status)
        cpu_ms = (usage.ru_utime + usage.ru_stime) * 1e3
        words = said.read_text(errors="replace")[:500]
        return [took / 1e6, code, words, cpu_ms, usage.ru_minflt]
