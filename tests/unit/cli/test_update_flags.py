"""The flags of update as the document that would say the same."""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.cli.call import Call
from ocirun.cli.commands import update
from ocirun.cli.parse import parse
from ocirun.errors import SpecError, UsageError, send_warnings_to


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Any, Any]:
    """Read a command line; give the resources and schemas that the container would get."""
    given: list[tuple[Any, Any]] = []
    monkeypatch.setattr(update, "update", lambda _, __, *what: given.append(what))
    call = parse(["--root", "/nonexistent", "update", *words, "web"])
    assert call is not None
    assert update.run(call) == 0
    return given[0]


@pytest.mark.parametrize(
    ("words", "resources"),
    [
        ([], {}),
        (["--memory", "64m", "--memory-swap=-1"], {"memory": {"limit": 64 << 20, "swap": -1}}),
        (["--memory-reservation", "1.5k"], {"memory": {"reservation": 1536}}),
        (["--cpu-share=5", "--cpu-quota=-1"], {"cpu": {"shares": 5, "quota": -1}}),
        (["--cpu-period", "9", "--cpu-burst", "0"], {"cpu": {"period": 9, "burst": 0}}),
        (["--cpu-idle=0"], {"cpu": {"idle": 0}}),
        (
            ["--cpu-rt-period=9", "--cpu-rt-runtime=8"],
            {"cpu": {"realtimePeriod": 9, "realtimeRuntime": 8}},
        ),
        (["--cpuset-cpus=0-3", "--cpuset-mems=0"], {"cpu": {"cpus": "0-3", "mems": "0"}}),
        (["--pids-limit=0"], {"pids": {"limit": 0}}),
        (["--pids-limit", "-1"], {"pids": {"limit": -1}}),
        (["--blkio-weight", "0"], {}),
        (["--blkio-weight", "100"], {"blockIO": {"weight": 100}}),
    ],
)
def test_flags_become_resources(
    monkeypatch: pytest.MonkeyPatch, words: list[str], resources: dict[str, Any]
) -> None:
    assert run(monkeypatch, *words) == (resources, {})


def test_resctrl_schemas_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--l3-cache-schema=L3:0=f", "--mem-bw-schema", "MB:0=10"]
    schemas = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=10"}
    assert run(monkeypatch, *words) == ({}, schemas)


def test_kernel_memory_is_ignored_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    send_warnings_to(warnings.append)
    run(monkeypatch, "--kernel-memory=0", "--kernel-memory-tcp=0")
    assert warnings == []
    run(monkeypatch, "--kernel-memory-tcp=4m")  # some v1 kernels have this one
    assert warnings == []
    run(monkeypatch, "--kernel-memory=4m")
    assert ["kernel memory" in warning for warning in warnings] == [True]


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (["--memory=5x"], UsageError, "invalid value for memory"),
        (["--cpu-quota=a"], UsageError, "invalid value for cpu-quota"),
        (["--cpu-share=-1"], SpecError, "update: /cpu/shares: must be from 0 to"),
        (["--blkio-weight=70000"], SpecError, "update: /blockIO/weight: must be from 0 to 65535"),
        (["-r", "/nonexistent"], Exception, "opening /nonexistent: no such file or directory"),
        (["-r", "/"], Exception, "opening /: is a directory"),
    ],
)
def test_wrong_values_are_refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str], error: type[Exception], sentence: str
) -> None:
    monkeypatch.setattr(Call, "check_container", lambda _: None)
    with pytest.raises(error, match=sentence):
        run(monkeypatch, *words)
