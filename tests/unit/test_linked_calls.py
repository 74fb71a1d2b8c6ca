"""The calls of the launcher that starts from a snapshot are those of cffi, each with its types."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from harness.machine import REPO

if TYPE_CHECKING:
    from types import ModuleType

KERNEL = REPO / "ocirun" / "kernel"


def load(name: str) -> ModuleType:
    path = REPO / "ocirun" / "_build" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"built_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_declaration_of_cffi_gets_a_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cffi")
    monkeypatch.syspath_prepend(REPO / "ocirun" / "_build")  # as for the build
    native, linked = load("native"), load("linked")
    source = linked.generate(native.CDEF, native.SOURCE)
    declared = set(re.findall(r"(\w+)\(", native.CDEF)) - linked.LEFT_OUT
    assert declared == set(re.findall(r'^    \{"(\w+)", \(PyCFunction\)', source, re.MULTILINE))


def test_a_type_that_nobody_knows_stops_the_build() -> None:
    linked = load("linked")
    for cdef in ("int call(struct stat *buffer);", "char *call(void);", "int call(double number);"):
        with pytest.raises(linked.UnknownType):
            linked.generate(cdef, "")


def test_memory_of_each_kind_that_is_used_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ocirun_calls", SimpleNamespace(get_errno=int))
    spec = importlib.util.spec_from_file_location("built_linked_face", KERNEL / "linked.py")
    assert spec
    assert spec.loader
    face = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(face)
    kinds = set()
    for path in KERNEL.glob("*.py"):
        kinds |= set(re.findall(r'ffi\.new\("([^"]+)"', path.read_text()))
    assert kinds
    for kind in kinds:
        memory = face.ffi.new(kind, 3) if kind.endswith(("*", "[]")) else face.ffi.new(kind)
        assert len(memory) >= 1
    assert face.ffi.new("char[]", b"ab").tobytes() == b"ab\0"
    assert face.ffi.new("uint32_t[6]", [1, 2]).tolist() == [1, 2, 0, 0, 0, 0]
    assert face.ffi.string(face.ffi.new("char[]", b"ab\0cd")) == b"ab"
