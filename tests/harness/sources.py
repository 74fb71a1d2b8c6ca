"""The files of the repository and the programs that judge them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine import REPO

NOT_OURS = {".git", ".venv", "build", "dist", "rootfs", "__pycache__", ".cache"}
FETCHED = REPO / ".cache" / "runtime-spec"
NO_REFERENCE = "no runtime-spec: `make reference` fetches it"


def tracked() -> list[Path]:
    """Every file of the repository; where git is not, every file that is not made by a tool."""
    if (REPO / ".git").exists() and shutil.which("git"):
        done = subprocess.run(
            ["git", "-C", REPO, "ls-files", "-z"], capture_output=True, check=False, text=True
        )
        if done.returncode == 0:
            paths = [REPO / name for name in done.stdout.split("\0") if name]
            return [path for path in paths if path.is_file()]
    found = []
    for folder, folders, files in os.walk(REPO):
        folders[:] = [name for name in folders if name not in NOT_OURS and "_cache" not in name]
        found += [Path(folder, name) for name in files]
    return sorted(found)


def is_generated(path: Path) -> bool:
    """Return whether the file's first lines say that it is generated."""
    return b"do not edit" in path.read_bytes()[:1000].lower()


def is_shell_script(path: Path) -> bool:
    first = path.read_bytes()[:64].split(b"\n", 1)[0]
    return path.suffix == ".sh" or (first.startswith(b"#!") and first.rstrip().endswith(b"sh"))


def tool(name: str) -> str:
    """Find a linter beside this interpreter or on PATH; skips the test when there is none."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"no tool {name}")
    return path


def find_reference() -> Path:
    """Return the folder of runtime-spec's schemas; skips the test where there is none.

    `make reference` fetches it; one beside the repository counts too.
    """
    for place in (FETCHED / "schema", REPO.parent / "shared" / "oci-spec"):
        if (place / "config-schema.json").is_file():
            return place
    pytest.skip(NO_REFERENCE)


def find_specification() -> Path:
    """Return the folder of runtime-spec's text; skips the test unless it has been fetched."""
    if not (FETCHED / "bundle.md").is_file():
        pytest.skip(NO_REFERENCE)
    return FETCHED


def judge(*words: str | Path) -> None:
    """Run a linter in the repository; what it says is the failure."""
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)
