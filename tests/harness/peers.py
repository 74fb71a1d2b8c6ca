"""Where the runtimes are: ours, and the peers a test is proved on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.machine import REPO

PEERS = ("runc", "crun")
LIBRARY = "library"


def find_runtime(word: str) -> tuple[str, str]:
    """Turn the value of --runtime into (name, path).

    The name is "runc" or "crun" for those programs and "ours" for everything else. `ours` is
    $OCIRUN, else the repository's .venv, else PATH. `library` is ours as well, called from a
    Python program (library.py); its path is that word.

    Raises:
        FileNotFoundError: there is none; the text says what to do.
    """
    if word == LIBRARY:
        return "ours", LIBRARY
    if word == "ours":
        for candidate in (os.environ.get("OCIRUN"), REPO / ".venv" / "bin" / "ocirun"):
            if candidate and Path(candidate).is_file():
                return "ours", str(candidate)
    path = shutil.which("ocirun" if word == "ours" else word)
    if path is None:
        raise FileNotFoundError(
            f"no runtime {word!r}: build ocirun (make), set OCIRUN, or give --runtime=PATH"
        )
    name = Path(path).name
    return (name if name in PEERS else "ours"), str(Path(path).absolute())


def peer_deviates(peer: str, reason: str, *, sometimes: bool = False) -> pytest.MarkDecorator:
    """Mark a test that must fail on `peer`, which differs from ocirun there.

    A strict expected failure on that peer, nothing elsewhere. `sometimes` is for races, where
    the peer may also get it right.
    """
    if peer not in PEERS:
        raise ValueError(f"no such peer: {peer}")
    return pytest.mark.peer_deviates(peer=peer, reason=reason, sometimes=sometimes)


def not_yet(reason: str) -> pytest.MarkDecorator:
    """Mark a test that must fail on ocirun until something planned is done.

    Whoever makes it work takes the mark away: a strict expected failure does not pass unnoticed.
    """
    return pytest.mark.peer_deviates(peer="ours", reason=f"not yet: {reason}", sometimes=False)


def is_deviation(item: pytest.Item, runtime_name: str) -> bool:
    """Return whether the runtime under test is known to differ in this test."""
    marks = item.iter_markers("peer_deviates")
    return any(mark.kwargs["peer"] == runtime_name for mark in marks)


def apply_deviations(item: pytest.Item, runtime_name: str) -> None:
    """Turn the deviations of the runtime under test into strict expected failures."""
    for mark in item.iter_markers("peer_deviates"):
        if mark.kwargs["peer"] == runtime_name:
            item.add_marker(
                pytest.mark.xfail(
                    reason=f"{runtime_name}: {mark.kwargs['reason']}",
                    strict=not mark.kwargs["sometimes"],
                )
            )
