"""Questions of the doctor, asked of a host that lacks what a test takes from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.host import Host

from ocirun.doctor import namespaces, probe, surroundings
from ocirun.doctor.probe import Finding, Probe


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def ask() -> Callable[[object, str], Finding]:
    """Ask the one question of a module that has this name."""

    def ask_one(module: object, name: str) -> Finding:
        probes: tuple[Probe, ...]
        if module is namespaces:
            probes = namespaces.probes()
        elif module is surroundings:
            probes = surroundings.probes(None)
        else:
            probes = module.PROBES  # type: ignore[attr-defined]  # the others have it
        (found,) = [one for one in probes if one.name == name]
        return probe.ask("group", found)

    return ask_one
