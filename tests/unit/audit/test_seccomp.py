"""What the audit concludes from compiled filters that no profile of libseccomp would become.

Source: docs/audit.md; seccomp(2).
"""

from __future__ import annotations

import os
import struct

import pytest

from ocirun.audit import seccomp
from ocirun.audit.cbpf import ALLOW
from ocirun.audit.world import OWN, World

X86_64 = 0xC000003E
EPERM = 0x00050001

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="this is not about other machines"
)


def program(*code: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in code)


def found(*filters: bytes, userns: bool = False) -> dict[str, tuple[str, str]]:
    world = World()
    world.filters = list(filters)
    if userns:
        world.namespaces["user"] = OWN
    return {one.rule.name: (one.grade, one.sentence) for one in seccomp.find(world)}


# Refuses all of x86_64, and looks at no other architecture.
NATIVE_ONLY = program(
    (0x20, 0, 0, 4), (0x15, 0, 1, X86_64), (0x06, 0, 0, EPERM), (0x06, 0, 0, ALLOW)
)
REFUSES_ALL = program((0x06, 0, 0, EPERM))
ALLOWS_ALL = program((0x06, 0, 0, ALLOW))


def test_calls_of_another_architecture_pass_a_filter_that_looks_at_one() -> None:
    grade, sentence = found(NATIVE_ONLY)["seccomp-other-architecture"]
    assert grade == "high"
    assert sentence.startswith("By the calls of x86 a program passes the filter: ")
    assert "keyctl" in sentence
    assert found(NATIVE_ONLY, userns=True)["seccomp-other-architecture"][0] == "medium"


def test_a_second_filter_closes_what_the_first_leaves_open() -> None:
    assert found(ALLOWS_ALL, REFUSES_ALL) == {}
    assert "seccomp-default-allow" in found(ALLOWS_ALL)


def test_calls_that_need_a_missing_capability_are_a_note() -> None:
    assert found(ALLOWS_ALL)["seccomp-mounts"][0] == "note"
    world = World()
    world.filters = [ALLOWS_ALL]
    world.capabilities["permitted"] = frozenset({"CAP_SYS_ADMIN"})
    grades = {one.rule.name: one.grade for one in seccomp.find(world)}
    assert grades["seccomp-mounts"] == "high"


def test_filters_that_are_not_known_are_not_judged() -> None:
    world = World()
    world.filters = None
    assert list(seccomp.find(world)) == []


def test_without_libseccomp_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise FileNotFoundError("libseccomp.so.2")

    monkeypatch.setattr("ocirun.kernel.libseccomp.Library", gone)
    world = World()
    world.filters = [ALLOWS_ALL]
    assert list(seccomp.find(world)) == []
    assert world.unknown == [
        "which calls the filter lets through: libseccomp.so.2 is not installed"
    ]
