"""What the doctor says about the engine vm.

Source: docs/doctor.md, docs/vm.md#requirements.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirun.doctor import surroundings
from ocirun.doctor.probe import LACKING, OK, Finding
from ocirun.engines.vm import machine


def test_what_virtual_machines_lack_is_named_one_by_one(
    ask: Callable[[object, str], Finding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "VIRTIOFSD", ())
    monkeypatch.setattr(machine, "PLACES", (str(tmp_path),))
    monkeypatch.setattr(machine, "has_kvm", lambda: False)
    monkeypatch.setattr("ocirun.__path__", [])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ask(surroundings, "virtual machines").found == "the vm engine needs root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    missing = {
        "qemu-system-x86_64": "no qemu-system-x86_64 in $PATH",
        "virtiofsd": "no virtiofsd",
        "initrd": "no initial RAM disk for machines",
        "vmlinux": "no kernel for machines",
    }
    for name, words in missing.items():
        found = ask(surroundings, "virtual machines")
        assert found.verdict == LACKING
        assert found.found.startswith(words)
        (tmp_path / name).touch(0o755)
    found = ask(surroundings, "virtual machines")
    assert (found.verdict, found.found) == (OK, f"{tmp_path}/qemu-system-x86_64, emulated")
