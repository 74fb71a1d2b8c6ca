"""`spec --profile hardened`, and the seccomp profile that it writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from harness.machine import REPO

from ocirun.cli.launcher import act
from ocirun.kernel.libseccomp import Library
from ocirun.security.seccomp.compile import compile_profile
from ocirun.spec.checks import check_config
from ocirun.spec.default import MASKED_PATHS, default_config
from ocirun.spec.hardened import hardened_config
from ocirun.spec.rules import check_rules
from ocirun.spec.seccomp_profile import default_profile

PAGE = REPO / "docs" / "seccomp-profile.md"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.mark.parametrize("cgroup_v2", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_hardened_config_conforms(cgroup_v2: bool, uid: int) -> None:
    config = hardened_config(cgroup_v2, uid, uid)
    assert check_config(config)
    assert check_rules(config) == []
    assert config["root"]["readonly"] is True
    process, linux = config["process"], config["linux"]
    assert process["noNewPrivileges"] is True
    assert set(map(tuple, process["capabilities"].values())) == {()}  # type: ignore[arg-type]
    assert {"type": "user"} in linux["namespaces"]
    assert set(MASKED_PATHS) < set(linux["maskedPaths"])
    assert linux["seccomp"] == default_profile()
    assert all(entry["hostID"] >= (uid or 100_000) for entry in linux["uidMappings"])
    assert ("pids" in linux.get("resources", {})) is (uid == 0)


def test_changing_a_hardened_config_leaves_the_next_one_alone() -> None:
    config = hardened_config()
    config["linux"]["maskedPaths"].clear()
    config["linux"]["seccomp"]["syscalls"].clear()
    assert hardened_config()["linux"]["maskedPaths"]
    assert hardened_config()["linux"]["seccomp"]["syscalls"]


def test_spec_writes_the_profile_that_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for profile in ("hardened", "default", "rootless"):
        assert act(["spec", "-b", str(tmp_path), "-f", profile, "--profile", profile]) == 0
    written = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert "seccomp" in written["hardened"]["linux"]
    assert {"type": "user"} in written["rootless"]["linux"]["namespaces"]
    v2 = {"type": "cgroup"} in written["default"]["linux"]["namespaces"]
    assert written["default"] == default_config(cgroup_v2=v2)
    for words, sentence in (
        (["--profile", "hardend"], "'hardend' is not a profile: hardened, default or rootless"),
        (["--profile", "hardened", "--rootless"], "--rootless is --profile rootless, not hardened"),
    ):
        assert act(["spec", "-b", str(tmp_path), *words]) == 1
        assert sentence in capfd.readouterr().err
    assert not (tmp_path / "config.json").exists()


def decided(*actions: str) -> set[str]:
    """Names in the profile."""
    return {
        name
        for rule in default_profile()["syscalls"]
        if rule["action"] in actions
        for name in rule["names"]
    }


def refused() -> set[str]:
    """Names in the table "Refused" of the page."""
    rows = PAGE.read_text().partition("## Refused")[2].partition("\n\n`ptrace`")[0].splitlines()
    return {name for row in rows for name in re.findall(r"`(\w+)`", row) if row.count("|") == 3}


def test_every_call_of_the_kernels_table_is_allowed_or_refused_with_a_reason() -> None:
    """The table is the header's where it is installed, and the one that libseccomp has."""
    library = Library()
    known = set(library.native_calls())
    if HEADER.exists():
        known |= set(re.findall(r"__NR_(\w+)", HEADER.read_text()))
    named = decided("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")
    assert not named & refused()
    if library.system_call_of(library.architecture("x86_64"), "arch_prctl") in library_numbers():
        assert sorted(known - named - refused() - {"umount"}) == []


def library_numbers() -> set[int]:
    return set(Library().native_calls().values())


def test_the_profile_compiles_without_an_unknown_name() -> None:
    """Names that this library is too old for are known ones of later kernels."""
    told: list[str] = []
    assert compile_profile(default_profile(), Library(), told.append)
    recent = {"cachestat", "fchmodat2", "map_shadow_stack", "mseal"}
    recent |= {"futex_requeue", "futex_wait", "futex_wake"}
    assert {line.split()[4] for line in told} <= recent
