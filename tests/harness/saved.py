"""A container that is saved by checkpoint and made again by restore, with pipes as its stdio."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from harness.box import Box, Container
from harness.bundle import Bundle
from harness.runtime import Result, wait_until

# CRIU takes seconds where the machine is emulated.
PATIENCE_S = 180.0

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


class Pipe:
    """What a container writes to, and what it has written so far."""

    def __init__(self) -> None:
        self._fd, self.end = os.pipe()
        os.set_blocking(self._fd, False)
        # A counting container must not come to a halt because nobody has read yet.
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._text = b""

    @property
    def text(self) -> str:
        try:
            while piece := os.read(self._fd, 1 << 16):
                self._text += piece
        except BlockingIOError:
            pass  # all of it has been read
        return self._text.decode()

    @property
    def numbers(self) -> list[int]:
        """The whole lines that are numbers."""
        lines = self.text.split("\n")[:-1]
        return [int(line) for line in lines if line.isdecimal()]

    def wait(self, text: str) -> str:
        """Wait until `text` was written; all that was."""
        wait_until(lambda: text in self.text, f"{text!r} in the output {self.text!r}", 60)
        return self.text

    def count_on(self, more: int = 3) -> int:
        """Wait for `more` numbers; the last one."""
        have = len(self.numbers)
        wait_until(lambda: len(self.numbers) >= have + more, f"more numbers: {self.text!r}", 60)
        return self.numbers[-1]

    def close(self) -> None:
        os.close(self._fd)
        os.close(self.end)


def skip_where_criu_says(words: str, result: Result) -> None:
    """Skip the test where CRIU itself cannot do its part on this kernel."""
    if words in result.said:
        pytest.skip(f"criu does not work here: {words}")


class Saved:
    """One container with a folder for its images; `pipe` is what it writes to at the moment."""

    def __init__(self, box: Box, bundle: Bundle | None = None, *args: str) -> None:
        self.box = box
        self.bundle = bundle or box.bundle("/probe", "count")
        if args:
            self.bundle.process["args"] = list(args)
        self.container: Container = box.container(self.bundle)
        self.images = box.folder / f"images-{self.container.id}"
        self.pipe = Pipe()
        self._pipes = [self.pipe]

    def run(self, *flags: str | Path) -> Saved:
        """Run it detached."""
        self.container.run("--detach", *flags, timeout=PATIENCE_S, **self.stdio()).ok()
        return self

    def stdio(self) -> dict[str, Any]:
        return {"stdout": self.pipe.end, "stderr": self.pipe.end}

    def checkpoint(self, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
        words = ("--image-path", self.images, *flags, self.container.id)
        return self.box.runtime.call("checkpoint", *words, timeout=PATIENCE_S, **keys)

    def restore_words(self, *flags: str | Path) -> tuple[str | Path, ...]:
        """A call of restore, with a pipe of its own for the container to go on with."""
        self.pipe = Pipe()
        self._pipes.append(self.pipe)
        place = ("--image-path", self.images, "--bundle", self.bundle.path)
        return ("restore", *place, *flags, self.container.id)

    def restore(self, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
        """Restore it, detached."""
        words = self.restore_words("--detach", *flags)
        return self.box.runtime.call(
            *words, bundle=self.bundle, timeout=PATIENCE_S, **self.stdio() | keys
        )

    @property
    def log(self) -> str:
        return (self.images / "dump.log").read_text(errors="replace")

    def __enter__(self) -> Saved:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
