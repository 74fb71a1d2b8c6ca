"""An installation of its own that starts from a snapshot, for tests that break it.

A prefix with copies of the two launchers and of the package, whose other packages are links. With
a *stub*, `ocirun.cli.launcher` is exchanged for one that runs the test's code and prints what it
found, and both launchers load it by path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness import peers

STUB_WARMUP = """
def warm_up(frozen):
    use_linked_calls()
    import ocirun.cli.launcher
    for name, _, _ in STREAMS:
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
"""


def launchers() -> tuple[Path, Path]:
    """Return the installed launcher and the ordinary one beside it; skips where there is one."""
    fast = Path(peers.find_runtime("ours")[1])
    cold = fast.with_name("ocirun-cold")
    if not cold.exists():
        pytest.skip("this Python cannot be started from a snapshot")
    return fast, cold


class FastInstall:
    """A prefix in which `ocirun snapshot` has been called."""

    def __init__(self, prefix: Path, stub: str | None = None) -> None:
        fast, cold = launchers()
        self.prefix = prefix
        self.program = prefix / "bin" / "ocirun"
        self.cold = prefix / "bin" / "ocirun-cold"
        self.image = prefix / "lib" / "ocirun" / "snapshot"
        self.program.parent.mkdir(parents=True)
        self.empty = prefix / "empty"  # a root without containers
        self.empty.mkdir()
        shutil.copy(fast, self.program)
        shutil.copy(cold, self.cold)
        name = re.search(rb"lib/(python3\.\d+t?)/site-packages", cold.read_bytes())
        assert name
        packages = fast.parent.parent / "lib" / name[1].decode() / "site-packages"
        self.packages = prefix / "lib" / name[1].decode() / "site-packages"
        self.packages.mkdir(parents=True)
        for entry in packages.iterdir():
            if entry.name == "ocirun":
                shutil.copytree(entry, self.packages / "ocirun")
            else:
                (self.packages / entry.name).symlink_to(entry)
        if stub is not None:
            self._exchange_main(stub)
        self.snapshot()

    def _exchange_main(self, stub: str) -> None:
        package = self.packages / "ocirun"
        (package / "frozen.id").write_text("0" * 32)  # found by path from now on
        (package / "cli" / "launcher.py").write_text(stub)
        with (package / "cli" / "warmup.py").open("a") as file:
            file.write(STUB_WARMUP)

    def snapshot(self) -> None:
        """Make the image, or make it again."""
        done = self.call("snapshot")
        assert done.returncode == 0, done.stderr
        assert self.image.exists()

    def call(self, *words: str, **keys: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        """Run the launcher, or another `program`."""
        keys.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            [keys.pop("program", self.program), *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **keys,
        )

    def report(self, *words: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
        """Run a stub and return what it printed."""
        done = self.call(*words, **keys)
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def start(self, **keys: Any) -> str:  # noqa: ANN401
        """Return how the launcher started, as `--debug` says; the verb has to work in any case."""
        done = self.call("--debug", "--root", str(self.empty), "list", "--quiet", **keys)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        said = re.findall(r'level=debug msg="(started [^"]*)"', done.stderr)
        assert len(said) == 1, done.stderr
        return str(said[0])


def files_below(folder: Path) -> set[str]:
    """Return the names of the files below `folder`."""
    return {os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file()}
