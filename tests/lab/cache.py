"""Where the lab's parts are kept, and how a program is run to make them.

The folder is named by a hash of what defines its contents; a part is made under another name and
renamed when it is complete, so that what has its name is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPO = HERE.parents[1]
GUEST = HERE / "guest"
DEFINITION: dict[str, Any] = tomllib.loads((HERE / "definition.toml").read_text())


class LabError(Exception):
    """The lab cannot be had here; the text is one sentence for whoever called."""


class NoMirror(LabError):
    """Nobody has the Debian that is asked for."""


def choose_release(name: str) -> None:
    """Let the rest of this run be about another release of Debian: change DEFINITION.

    Raises:
        LabError: the definition has none of that name.
    """
    releases = DEFINITION["release"]
    if name not in releases:
        raise LabError(f"RELEASE={name}: the lab has {', '.join(releases)}")
    other = dict(releases[name])
    DEFINITION["packages"] += other.pop("with", [])
    DEFINITION.update(other)


def digest(*parts: str | bytes | Path) -> str:
    """A short hash of texts and of the contents of files."""
    found = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        found.update(hashlib.sha256(data.encode() if isinstance(data, str) else data).digest())
    return found.hexdigest()[:12]


def cache_folder() -> Path:
    """The folder of this definition: below $OCIRUN_LAB, else below the user's cache."""
    named = os.environ.get("OCIRUN_LAB")
    key = digest(HERE / "definition.toml", *sorted(GUEST.iterdir()))
    name = f"ocirun-lab-{DEFINITION['suite']}-{key}"
    folder = Path(named or "~/.cache").expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time: two checkouts may want the same part at once."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_part(folder: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Return the part `name` of the cache; if it is missing, `build` makes it at another path.

    Order: what `build` needs of the cache is asked for before; it holds the lock.
    """
    part = folder / name
    if part.exists():
        return part
    with locked(folder):
        if part.exists():
            return part
        started = time.monotonic()
        say(f"making {name}")
        scratch = folder / f"{name}.new"
        remove(scratch)
        build(scratch)
        scratch.rename(part)
        say(f"made {name} in {time.monotonic() - started:.0f} s")
    return part


def remove(path: Path) -> None:
    """Remove a file or a tree, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def say(text: str) -> None:
    """Print what is being done, for the person who waits."""
    print(f"lab: {text}", file=sys.stderr, flush=True)  # noqa: T201  # for people


def run(doing: str, *words: str | Path) -> str:
    """Run a program and give what it prints.

    Raises:
        LabError: it is not there or it failed; `doing` and its last words are in the sentence.
    """
    try:
        done = subprocess.run(
            words,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        hint = "tools/prepare lab installs it where there is apt-get"
        raise LabError(f"{doing}: no program {words[0]} here; {hint}") from error
    if done.returncode:
        last = " / ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise LabError(f"{doing}: {words[0]} ended with {done.returncode}: {last}")
    return done.stdout


def run_inside(
    doing: str, root: Path, words: list[str], binds: dict[str, Path] | None = None
) -> str:
    """Run a program in the new system, with folders of the host bound to places in it.

    The mounts are of a private namespace and vanish with it.

    Raises:
        LabError: see `run`.
    """
    clean = "env -u PYTHONPATH PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root"
    script = [
        'set -e; root=$1; shift; mount -t proc proc "$root/proc"',
        'while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --bind "$2" "$root$1"; shift 2; done',
        f'shift; exec chroot "$root" {clean} DEBIAN_FRONTEND=noninteractive "$@"',
    ]
    pairs = [str(part) for pair in (binds or {}).items() for part in pair]
    inside = ["sh", "-c", "\n".join(script), "sh", str(root), *pairs, "--", *words]
    return run(doing, "unshare", "--mount", "--propagation", "private", *inside)
