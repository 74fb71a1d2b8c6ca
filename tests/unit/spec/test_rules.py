"""Rules a schema cannot say. One small config, one change, one sentence.

Source: docs/runc-compat/init.md#validation.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.errors import Problem
from ocirun.process.request import Request
from ocirun.spec import linux_rules, mount_rules, process_rules, rules
from ocirun.spec.rules import check_process_rules, check_rules

if TYPE_CHECKING:
    from pathlib import Path

MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]


def test_real_documents_break_no_rule(
    document_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    monkeypatch.setattr(process_rules, "APPARMOR", str(_written(tmp_path, "Y")))
    monkeypatch.setattr(linux_rules, "is_own_network", lambda _: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert check_rules(json.loads(document_path.read_bytes())) == []


def _written(folder: Path, text: str) -> Path:
    path = folder / "enabled"
    path.write_text(text)
    return path


def test_the_small_config_breaks_no_rule(config: Any) -> None:
    assert check_rules(config) == []


def test_a_version_begins_with_a_number(config: Any) -> None:
    for version in ("1.0.2-dev", "1.3.0", "1.2.1+dev", "1.0", ""):
        assert check_rules({**config, "ociVersion": version}) == []
    for version in ("invalid", "v1.0.0", "²"):
        message = f'"{version}" is not a version of the specification'
        assert check_rules({**config, "ociVersion": version}) == [Problem("/ociVersion", message)]


def test_root_must_be_given(config: Any) -> None:
    del config["root"]
    assert check_rules(config) == [Problem("/root", "root must be specified")]
    config["root"] = {"path": ""}
    assert check_rules(config) == [Problem("/root/path", "path must not be empty")]


PROCESS_CASES = [
    ({"cwd": ""}, "/cwd", "Cwd property must not be empty"),
    ({"cwd": "work"}, "/cwd", "Cwd must be an absolute path"),
    ({"args": []}, "/args", "args must not be empty"),
    ({"env": ["A=1", "B"]}, "/env/1", "invalid environment variable: missing '='"),
    ({"env": ["=x"]}, "/env/0", "invalid environment variable: name cannot be empty"),
    (
        {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2},
        "/rlimits/1/type",
        "RLIMIT_CPU is given twice",
    ),
    (
        {"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
        "/rlimits/0/soft",
        "soft limit 2 is above the hard limit 1",
    ),
    (
        {"execCPUAffinity": {"initial": "0-3", "final": "99999"}},
        "/execCPUAffinity/final",
        'invalid list of CPUs: "99999" is beyond 32767',
    ),
    (
        {"scheduler": {"policy": "SCHED_OTHER", "nice": -21}},
        "/scheduler/nice",
        "invalid nice value -21: it must be from -20 to 19",
    ),
    (
        {"scheduler": {"policy": "SCHED_FIFO", "nice": 20, "priority": 1}},
        "/scheduler/nice",
        "invalid nice value 20: it must be from -20 to 19",
    ),
    (
        {"scheduler": {"policy": "SCHED_BATCH", "priority": 1}},
        "/scheduler/priority",
        "priority can only be specified for SCHED_FIFO or SCHED_RR policy",
    ),
    (
        {"scheduler": {"policy": "SCHED_RR"}},
        "/scheduler/priority",
        "SCHED_RR needs a priority from 1 to 99, not 0",
    ),
    (
        {"scheduler": {"policy": "SCHED_IDLE", "runtime": 5}},
        "/scheduler/runtime",
        "runtime can only be specified for SCHED_DEADLINE policy",
    ),
    (
        {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000}},
        "/scheduler",
        "SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period nanoseconds",
    ),
]


@pytest.mark.parametrize(("change", "pointer", "message"), PROCESS_CASES)
def test_each_broken_process_rule_is_named_with_its_pointer(
    config: Any, change: Any, pointer: str, message: str
) -> None:
    config["process"].update(change)
    assert check_rules(config) == [Problem(f"/process{pointer}", message)]
    assert check_process_rules(config["process"]) == [Problem(pointer, message)]


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_OTHER", "nice": 19},
        {"policy": "SCHED_RR", "priority": 99, "nice": 5},
        {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024, "nice": -20},
        {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024},
        {"policy": "SCHED_IDLE"},
    ],
)
def test_scheduler_that_fits(config: Any, scheduler: Any) -> None:
    config["process"]["scheduler"] = scheduler
    assert check_rules(config) == []


def test_selinux_label_needs_selinux(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config["process"]["selinuxLabel"] = "a:b:c:d"
    monkeypatch.setattr(process_rules, "SELINUX", "/nonexistent")
    message = "selinux label is specified in config, but selinux is disabled or not supported"
    assert check_rules(config) == [Problem("/process/selinuxLabel", message)]
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    assert check_rules(config) == []


def test_a_mount_label_counts_where_selinux_is(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["linux"]["mountLabel"] = "a:b:c:d"
    monkeypatch.setattr(process_rules, "SELINUX", "/nonexistent")
    assert check_rules(config) == []
    assert Request(config).mount_label == ""
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    assert check_rules(config) == []
    assert Request(config).mount_label == "a:b:c:d"


def test_a_personality_has_no_flags(config: Any) -> None:
    config["linux"]["personality"] = {"domain": "LINUX", "flags": ["A"]}
    message = 'personality flag "A" is not supported: the specification has none'
    assert check_rules(config) == [Problem("/linux/personality/flags/0", message, "remove it")]
    config["linux"]["personality"]["flags"] = []
    assert check_rules(config) == []


@pytest.mark.parametrize("text", ["Y\n", "N\n", ""])
def test_an_apparmor_profile_needs_apparmor(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    config["process"]["apparmorProfile"] = "profile"
    monkeypatch.setattr(process_rules, "APPARMOR", str(_written(tmp_path, text)))
    message = "apparmor profile is specified in config, but apparmor is disabled or not supported"
    problems = [] if text == "Y\n" else [Problem("/process/apparmorProfile", message)]
    assert check_rules(config) == problems
    monkeypatch.setattr(process_rules, "APPARMOR", "/nonexistent")
    assert check_rules(config) == [Problem("/process/apparmorProfile", message)]


@pytest.mark.parametrize("member", ["apparmorProfile", "selinuxLabel"])
def test_an_empty_label_is_none(config: Any, member: str) -> None:
    config["process"][member] = ""
    config["linux"]["mountLabel"] = ""
    assert check_rules(config) == []


@pytest.mark.parametrize(
    ("mount", "messages"),
    [
        ({"destination": ""}, ["destination must not be empty"]),
        ({"destination": "relative"}, []),
        (
            {"destination": "/a", "options": ["rbind"]},
            ["source of a bind mount must not be empty"],
        ),
        ({"destination": "/a", "source": "b", "type": "tmpfs", "options": ["bind", "ro"]}, []),
        (
            {
                "destination": "/a",
                "source": "b",
                "options": ["bind", "noexce", "ro", "size=1k", "x"],
            },
            ["bind mounts cannot have any filesystem-specific options applied: noexce,x"],
        ),
        ({"destination": "/a", "source": "b", "options": ["bind", "size=1k", "mode=0"]}, []),
        ({"destination": "/a", "type": "tmpfs", "options": ["size=1k"]}, []),
        (
            {"destination": "/a", "type": "tmpfs", "uidMappings": MAPS, "gidMappings": MAPS},
            ["id-mapped mounts are only supported for bind mounts"],
        ),
        (
            {"destination": "/a", "source": "b", "options": ["bind"], "uidMappings": MAPS},
            ["id-mapped mounts need both uidMappings and gidMappings"],
        ),
        (
            {"destination": "/a", "source": "b", "options": ["bind", "ridmap"]},
            ["ridmap without mappings needs a user namespace"],
        ),
    ],
)
def test_broken_mount_rules_are_named(
    config: Any, mount: Any, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config["mounts"] = [mount]
    assert [problem.message for problem in check_rules(config)] == messages


def test_id_mapped_mounts_take_the_containers_maps_and_need_root(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["mounts"] = [{"destination": "/a", "source": "b", "options": ["bind", "idmap"]}]
    config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    config["linux"]["namespaces"].append({"type": "user"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert check_rules(config) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    message = "id-mapped mounts are not supported for rootless containers"
    assert check_rules(config) == [Problem("/mounts/0", message)]


def test_hooks_are_absolute(config: Any) -> None:
    config["hooks"] = {"poststop": [{"path": "/a"}, {"path": "b"}], "x-other": [{"path": "c"}]}
    assert check_rules(config) == [
        Problem("/hooks/poststop/1/path", 'hook path "b" must be absolute')
    ]


def test_no_document_writes_to_a_terminal_through_a_sentence(config: Any) -> None:
    config["linux"].update(maskedPaths=["\x1b[2J"], sysctl={"a\x07.b": "1"})
    problems = check_rules(config)
    assert len(problems) == 2
    assert all(str(problem).isprintable() for problem in problems)


def test_every_rule_is_in_a_table() -> None:
    """A rule that nobody calls is no rule."""
    assert set(mount_rules.MOUNT_RULES) <= set(rules.RULES)
    top_rules = set(rules.RULES) - set(mount_rules.MOUNT_RULES)
    for module, tables in (
        (rules, (top_rules, rules.RESOURCES_RULES, rules.PROCESS_RULES)),
        (mount_rules, (mount_rules.MOUNT_RULES,)),
        (process_rules, (process_rules.SCHEDULER_RULES, process_rules.OTHER_RULES)),
        (linux_rules, ([rule for _, rule in linux_rules.LINUX_RULES],)),
    ):
        listed = {rule.__name__ for table in tables for rule in table}
        written = {
            name
            for name, value in vars(module).items()
            if getattr(value, "__annotations__", {}).get("return") == "Found"
        }
        assert written == listed
    asked = {member for member, _ in linux_rules.LINUX_RULES}
    assert asked == rules.LINUX_ASKED
