"""What `doctor` advises when something is broken: nothing that does not help."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EACCES, EINVAL, ENOSPC, ENOSYS, EPERM
from pathlib import Path
from types import SimpleNamespace

import pytest

from ocirun.cli.commands.doctor import plain
from ocirun.doctor import cgroups, kernel, namespaces, security, surroundings
from ocirun.doctor.probe import DEGRADED, FILTERED, LACKING, OK, REFUSED, Finding, Lacks, Probe
from ocirun.doctor.probe import ask as finding_of

Ask = Callable[[object, str], Finding]


@pytest.mark.parametrize(
    ("number", "release", "remedy"),
    [
        (EPERM, "5.10.0-8-amd64", REFUSED),
        (EACCES, "6.18.44", REFUSED),
        (ENOSYS, "5.10.0-8-amd64", kernel.NOT_FILTERED),
        (ENOSYS, "6.18.44", FILTERED),
        (EINVAL, "6.18.44", ""),
        (EINVAL, "6.1+", ""),
    ],
)
def test_a_newer_kernel_is_not_asked_for_where_this_one_is_new_enough(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, number: int, release: str, remedy: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(kernel, "openat2", refused)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    finding = ask(kernel, "openat2")
    assert (finding.verdict, finding.remedy) == (LACKING, remedy)


@pytest.mark.parametrize(("release", "known"), [("4.19.0", True), ("6.18.44", False)])
def test_agents_are_not_promised_by_a_newer_kernel(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, release: str, known: bool
) -> None:
    monkeypatch.setattr(security, "knows_flags", lambda _: False)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    assert ask(security, "seccomp agents").remedy == ("Run Linux 5.0 or newer." if known else "")


@pytest.mark.parametrize(
    ("number", "found", "remedy"),
    [
        (EACCES, "vm.memfd_noexec forbids them", "sysctl vm.memfd_noexec=0 or 1."),
        (EPERM, "operation not permitted", FILTERED),
    ],
)
def test_the_sysctl_of_memory_files_is_blamed_for_its_own_error_only(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, number: int, found: str, remedy: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refused)
    finding = ask(security, "executable memory files")
    assert (finding.found, finding.remedy) == (found, remedy)


def test_a_finding_without_a_remedy_has_no_line_for_it() -> None:
    def lacking() -> str:
        raise Lacks("gone", remedy="")

    finding = finding_of("group", Probe("name", lacking, "What follows.", "What helps."))
    assert finding.remedy == ""
    assert plain([finding]).splitlines()[2:] == ["            What follows."]


@pytest.fixture
def broken_criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a criu that says something and fails into PATH."""

    def install(words: str) -> Path:
        program = tmp_path / "criu"
        program.write_text(f'#!/bin/sh\necho "{words}" >&2\nexit 1\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return program

    return install


def test_a_broken_criu_is_not_to_be_installed(ask: Ask, broken_criu: Callable[[str], Path]) -> None:
    program = broken_criu("Error: no soft-dirty")
    finding = ask(surroundings, "criu")
    assert finding.found == "criu check: Error: no soft-dirty"
    assert finding.remedy == f"{program} check -v4 has details."


def test_an_old_criu_has_no_check_for_ordinary_users(
    ask: Ask, broken_criu: Callable[[str], Path]
) -> None:
    program = broken_criu("criu: unrecognized option '--unprivileged'")
    finding = ask(surroundings, "criu")
    assert finding.found == f"{program} has no check for ordinary users"
    assert "newer" in finding.remedy


def test_without_criu_it_is_to_be_installed(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    finding = ask(surroundings, "criu")
    assert (finding.found, finding.remedy) == ("there is no criu in PATH", "Install criu.")


def test_a_missing_file_of_subordinate_ids_is_named(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: str) -> str:
        if path == "/etc/subuid":
            raise FileNotFoundError(2, "No such file or directory")
        return ""

    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(namespaces, "read", missing)
    assert ask(namespaces, "subordinate ids").found == "there is no /etc/subuid"


@pytest.mark.parametrize(
    ("numbers", "kind", "found"),
    [
        ((1, 7), 0o020666, None),
        ((1, 3), 0o020666, "/dev/full is the device 1:3"),
        ((0, 0), 0o100666, "/dev/full is not a character device"),
        (None, 0, "there is no /dev/full"),
    ],
)
def test_a_broken_standard_device_is_noticed(
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    numbers: tuple[int, int] | None,
    kind: int,
    found: str | None,
) -> None:
    def stat(path: str) -> os.stat_result:
        name = path.removeprefix("/dev/")
        if name == "full" and numbers is None:
            raise FileNotFoundError(2, "No such file or directory")
        mode, pair = (kind, numbers) if name == "full" else (0o020666, surroundings.DEVICES[name])
        assert pair is not None
        values = {"st_rdev": os.makedev(*pair)}
        return os.stat_result([mode, 0, 0, 0, 0, 0, 0, 0, 0, 0], values)

    monkeypatch.setattr(surroundings.os, "stat", stat)
    finding = ask(surroundings, "devices")
    if found is None:
        assert (finding.verdict, finding.remedy) == (OK, "")
        return
    assert (finding.verdict, finding.found) == (DEGRADED, found)
    assert "mknod -m 666 /dev/full c 1 7" in finding.remedy


def test_every_check_says_what_it_did() -> None:
    from ocirun.doctor.examine import all_probes

    for _, probes in all_probes(None):
        for probe in probes:
            assert probe.did, probe.name
    finding = finding_of("group", Probe("name", lambda: "found", "", "", did="looked at it"))
    assert finding.body()["did"] == "looked at it"


def test_what_was_done_is_a_line_where_something_is_missing() -> None:
    def lacking() -> str:
        raise Lacks("gone")

    finding = finding_of("group", Probe("name", lacking, "So.", "Do.", did="looked at it"))
    assert "            The check looked at it." in plain([finding]).splitlines()
    fine = finding_of("group", Probe("name", lambda: "there", "So.", "Do.", did="looked at it"))
    assert "looked" not in plain([fine])


@pytest.mark.parametrize("name", ["born in the cgroup", "cgroup.kill"])
def test_without_cgroup_v2_no_newer_kernel_helps(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cgroups, "_own_v2", lambda: None)
    finding = ask(cgroups, name)
    assert (finding.verdict, finding.found) == (DEGRADED, "no v2 hierarchy")
    assert finding.remedy == "Use cgroup v2."


@pytest.mark.parametrize(("release", "newer"), [("5.10.0-8-amd64", True), ("6.18.44", False)])
def test_a_kernel_that_has_cgroup_kill_needs_not_be_newer(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str, newer: bool
) -> None:
    monkeypatch.setattr(cgroups, "_own_v2", lambda: str(tmp_path))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    finding = ask(cgroups, "cgroup.kill")
    assert finding.remedy == ("Run Linux 5.14 or newer with cgroup v2." if newer else "")


def test_a_helper_without_its_bit_is_not_to_be_installed(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "newuidmap"
    program.touch(mode=0o755)
    monkeypatch.setattr(namespaces, "find_in_path", lambda _: str(program))
    finding = ask(namespaces, "id-map helpers")
    assert finding.remedy == f"As root: chmod u+s {program}."


@pytest.mark.parametrize(("number", "raised"), [(EPERM, False), (ENOSPC, True)])
def test_only_a_limit_that_is_reached_is_to_be_raised(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, number: int, raised: bool
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(namespaces, "in_child", refused)
    finding = ask(namespaces, "user")
    assert finding.remedy.startswith("Raise user.max_user_namespaces") is raised


@pytest.mark.parametrize(
    ("abi", "verdict", "words"),
    [
        (0, DEGRADED, "CONFIG_SECURITY_LANDLOCK"),
        (5, DEGRADED, "Linux 6.12"),
        (6, OK, ""),
    ],
)
def test_landlock_is_looked_at(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, abi: int, verdict: str, words: str
) -> None:
    monkeypatch.setattr("ocirun.kernel.landlock.abi", lambda: abi)
    finding = ask(security, "Landlock")
    assert finding.verdict == verdict
    assert words in finding.remedy
