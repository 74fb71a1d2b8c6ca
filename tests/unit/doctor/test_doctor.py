"""Each lack of a host is found, named, and never more than it is.

Source: docs/doctor.md.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from errno import EINVAL, ENOSYS, EPERM
from pathlib import Path

import pytest
from harness.host import Host

from ocirun.cgroups.paths import Table
from ocirun.doctor import cgroups, examine, kernel, namespaces, security, surroundings
from ocirun.doctor.probe import DEGRADED, LACKING, OK, UNKNOWN, Finding, Lacks, Probe, ask

Ask = Callable[[object, str], Finding]

V2 = "29 23 0:26 / {} rw - cgroup2 cgroup2 rw\n"
V1 = "30 23 0:2{0} / {1}/{2} rw - cgroup cgroup rw,{2}\n"


def a_probe(answer: Callable[[], str], *, without: str = LACKING, needed: bool = False) -> Probe:
    return Probe("name", answer, "What follows.", "What helps.", without=without, needed=needed)


class TestAsking:
    """One question."""

    def test_a_good_answer_has_no_consequence(self) -> None:
        finding = ask("group", a_probe(lambda: "there"))
        assert (finding.verdict, finding.found, finding.consequence) == (OK, "there", "")

    @pytest.mark.parametrize("without", [LACKING, DEGRADED])
    def test_a_lack_has_the_words_of_its_probe_or_its_own(self, without: str) -> None:
        def lacking() -> str:
            raise Lacks("not there")

        def lacking_more() -> str:
            raise Lacks("not there", "Worse.", "Or so.")

        finding = ask("group", a_probe(lacking, without=without))
        assert (finding.verdict, finding.found) == (without, "not there")
        assert (finding.consequence, finding.remedy) == ("What follows.", "What helps.")
        finding = ask("group", a_probe(lacking_more))
        assert (finding.consequence, finding.remedy) == ("Worse.", "Or so.")

    def test_what_the_kernel_says_is_a_lack(self) -> None:
        def refused() -> str:
            raise OSError(EPERM, os.strerror(EPERM))

        assert ask("group", a_probe(refused)).found == "operation not permitted"

    def test_a_probe_that_breaks_stops_nobody(self) -> None:
        def broken() -> str:
            raise ValueError("oops")

        finding = ask("group", a_probe(broken))
        assert (finding.verdict, finding.found) == (UNKNOWN, "ValueError: oops")
        assert finding.consequence
        assert finding.remedy

    def test_what_is_needed_decides(self) -> None:
        def lacking() -> str:
            raise Lacks("not there")

        needed, other = a_probe(lacking, needed=True), a_probe(lacking)
        assert examine.can_run([ask("group", other)])
        assert not examine.can_run([ask("group", other), ask("group", needed)])

    def test_every_check_has_a_consequence_and_a_remedy(self) -> None:
        for _, probes in examine.all_probes(None):
            for one in probes:
                if one.name != "Python":
                    assert one.consequence.endswith(".")
                    assert one.remedy.endswith(".")
        names = [one.name for _, probes in examine.all_probes(None) for one in probes]
        assert len(set(names)) == len(names)


class TestKernel:
    """Calls that are not there."""

    @pytest.mark.parametrize(
        ("release", "verdict"),
        [("5.11.0-generic", LACKING), ("5.12.0", OK), ("6.1-rc1", OK), ("4.18", LACKING)],
    )
    def test_a_kernel_older_than_5_12_is_lacking(
        self, monkeypatch: pytest.MonkeyPatch, ask: Ask, release: str, verdict: str
    ) -> None:
        uname = os.uname()
        monkeypatch.setattr("os.uname", lambda: type(uname)((*uname[:2], release, *uname[3:])))
        finding = ask(kernel, "version")
        assert (finding.verdict, finding.needed) == (verdict, True)
        assert release in finding.found

    @pytest.mark.parametrize(
        ("name", "call"),
        [("openat2", "openat2"), ("mount API", "in_child"), ("pidfd", "in_child")],
    )
    def test_a_missing_system_call_is_lacking(
        self, host: Host, ask: Ask, name: str, call: str
    ) -> None:
        host.refuse(kernel, call, ENOSYS)
        finding = ask(kernel, name)
        assert (finding.verdict, finding.found) == (LACKING, "function not implemented")
        assert finding.needed

    def test_close_range_can_be_done_without(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kernel, "has_close_range", lambda: False)
        finding = ask(kernel, "close_range")
        assert (finding.verdict, finding.found) == (DEGRADED, "refused or missing")
        assert not finding.needed

    def test_id_mapped_mounts_are_for_root(self, host: Host, ask: Ask) -> None:
        host.be(0)
        host.refuse(kernel, "in_child", EINVAL)
        assert ask(kernel, "id-mapped mounts").verdict == DEGRADED
        host.be(1000)
        assert "only root" in ask(kernel, "id-mapped mounts").found


class TestNamespaces:
    """Namespaces that are refused, switched off or used up."""

    def test_one_that_cannot_be_made(self, host: Host, ask: Ask) -> None:
        host.refuse(namespaces, "in_child", EINVAL)
        for kind in ("time", "cgroup"):
            finding = ask(namespaces, kind)
            assert (finding.verdict, finding.needed) == (LACKING, False)
            assert kind in finding.consequence
        assert ask(namespaces, "mount").needed

    def test_a_user_namespace_is_needed_by_an_ordinary_user(self, host: Host, ask: Ask) -> None:
        host.refuse(namespaces, "in_child", EPERM)
        host.be(0)
        assert not ask(namespaces, "user").needed
        host.be(1000)
        assert ask(namespaces, "user").needed

    def test_a_namespace_limit_of_0_is_named(self, host: Host, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip  # noqa: E501
        monkeypatch.setattr(namespaces, "SYSCTL", str(tmp_path))
        (tmp_path / "user").mkdir()
        for kind, count in (("user", "0"), ("net", "500"), ("time", "0")):
            (tmp_path / "user" / f"max_{kind}_namespaces").touch()
            host.files[f"{tmp_path}/user/max_{kind}_namespaces"] = count
        finding = ask(namespaces, "namespace limits")
        assert (finding.verdict, finding.found) == (LACKING, "no time, user namespaces are allowed")

    @pytest.mark.parametrize(
        ("name", "value", "verdict"),
        [
            ("unprivileged_userns_clone", "0", LACKING),
            ("unprivileged_userns_clone", "1", OK),
            ("apparmor_restrict_unprivileged_userns", "1", LACKING),
            ("apparmor_restrict_unprivileged_userns", "0", OK),
        ],
    )
    def test_a_switch_against_user_namespaces_is_named(
        self, host: Host, ask: Ask, name: str, value: str, verdict: str
    ) -> None:
        host.be(1000)
        host.files[f"/proc/sys/kernel/{name}"] = value
        finding = ask(namespaces, "user namespaces for all")
        assert finding.verdict == verdict
        assert (f"kernel.{name}" in finding.remedy) == (verdict == LACKING)

    def test_id_map_helpers_must_be_privileged(
        self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "no newuidmap" in ask(namespaces, "id-map helpers").found
        for name in ("newuidmap", "newgidmap"):
            (tmp_path / name).touch(0o755)
        assert "neither setuid" in ask(namespaces, "id-map helpers").found
        for name in ("newuidmap", "newgidmap"):
            (tmp_path / name).chmod(0o4755)
        assert ask(namespaces, "id-map helpers").verdict == OK

    def test_subordinate_ids_are_counted(self, host: Host, ask: Ask) -> None:
        host.be(1000)
        host.files["/etc/passwd"] = "root:x:0:0::/:\nann:x:1000:1000::/:"
        host.files["/etc/subuid"] = "bob:1:5\nann:100000:65536\n1000:7:10"
        host.files["/etc/subgid"] = "bob:1:5"
        finding = ask(namespaces, "subordinate ids")
        assert (finding.verdict, "/etc/subgid" in finding.found) == (DEGRADED, True)
        host.files["/etc/subgid"] = "1000:100000:65536"
        assert ask(namespaces, "subordinate ids").found == "65546 uids and 65536 gids"
        del host.files["/etc/subuid"]
        assert ask(namespaces, "subordinate ids").verdict == DEGRADED


class TestCgroups:
    """Layouts that lack something."""

    def see(
        self, monkeypatch: pytest.MonkeyPatch, mounts: str, own: str = "0::/\n"
    ) -> None:  # fmt: skip
        monkeypatch.setattr(cgroups, "read_table", lambda: Table(mounts, own))
        monkeypatch.setattr(cgroups, "layout", lambda table=None: kind(table))
        from ocirun.cgroups.choose import layout

        def kind(table: Table | None) -> str:
            return layout(table or Table(mounts, own))

    def test_a_host_without_cgroups_is_degraded(
        self, monkeypatch: pytest.MonkeyPatch, ask: Ask
    ) -> None:
        self.see(monkeypatch, "", "")
        for name in ("layout", "controllers", "delegation", "born in the cgroup", "cgroup.kill"):
            assert ask(cgroups, name).verdict == DEGRADED, name
        assert ask(cgroups, "freezer").verdict == LACKING

    def test_missing_v1_controllers_are_named(
        self, monkeypatch: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
    ) -> None:
        self.see(monkeypatch, V1.format(1, tmp_path, "memory"), "4:memory:/\n")
        assert ask(cgroups, "layout").found == "v1"
        finding = ask(cgroups, "controllers")
        assert "without cpu, cpuset, pids, blkio, devices, freezer" in finding.found
        assert ask(cgroups, "born in the cgroup").found == "no v2 hierarchy"
        assert "no freezer" in ask(cgroups, "freezer").found
        assert "no devices" in ask(cgroups, "device rules").found

    def test_missing_v2_controllers_and_files_are_named(self, monkeypatch: pytest.MonkeyPatch, host: Host, ask: Ask, tmp_path: Path) -> None:  # fmt: skip  # noqa: E501
        self.see(monkeypatch, V2.format(tmp_path))
        host.files[f"{tmp_path}/cgroup.controllers"] = "cpu memory pids"
        assert ask(cgroups, "controllers").found.startswith("without cpuset, io;")
        assert "no file cgroup.kill" in ask(cgroups, "cgroup.kill").found
        (tmp_path / "below").mkdir()
        (tmp_path / "below/cgroup.kill").touch()
        assert ask(cgroups, "cgroup.kill").verdict == OK
        assert ask(cgroups, "freezer").verdict == LACKING

    def test_a_refused_device_program_matters_to_root(
        self, monkeypatch: pytest.MonkeyPatch, host: Host, ask: Ask
    ) -> None:
        self.see(monkeypatch, V2.format("/sys/fs/cgroup"))
        host.refuse(cgroups, "prog_load", EPERM)
        host.answer(cgroups, "is_in_user_namespace", False)
        host.be(0)
        assert "No container" in ask(cgroups, "device rules").consequence
        host.be(1000)
        assert "no effect" in ask(cgroups, "device rules").consequence

    def test_a_cgroup_that_is_not_writable_is_reported(
        self, monkeypatch: pytest.MonkeyPatch, host: Host, ask: Ask, tmp_path: Path
    ) -> None:
        self.see(monkeypatch, V2.format(tmp_path))
        assert ask(cgroups, "delegation").found == f"below {tmp_path}"
        monkeypatch.setattr("os.access", lambda *_: False)
        host.be(1000)
        assert "share this process's cgroup" in ask(cgroups, "delegation").consequence
        host.be(0)
        assert "No container" in ask(cgroups, "delegation").consequence

    def test_huge_pages_and_resctrl(
        self, monkeypatch: pytest.MonkeyPatch, host: Host, ask: Ask, tmp_path: Path
    ) -> None:
        self.see(monkeypatch, V1.format(1, tmp_path, "memory"), "4:memory:/\n")
        monkeypatch.setattr(cgroups, "HUGEPAGES", str(tmp_path))
        assert ask(cgroups, "huge pages").found == "no hugetlb controller"
        host.answer(cgroups, "find_resctrl", None)
        assert ask(cgroups, "resctrl").verdict == LACKING
        host.answer(cgroups, "find_resctrl", "/sys/fs/resctrl")
        assert ask(cgroups, "resctrl").found == "/sys/fs/resctrl"


class TestSecurity:
    """What holds containers, and is not there."""

    def test_a_missing_seal_is_lacking(self, host: Host, ask: Ask) -> None:
        host.answer(security, "is_sealed", False)
        finding = ask(security, "seal")
        assert (finding.verdict, finding.needed) == (LACKING, True)
        host.answer(security, "is_sealed", True)
        host.answer(security, "fstatfs", (0x01021994, 0))
        assert ask(security, "seal").found == "a sealed memory file"

    def test_refused_memory_files_are_degraded(self, host: Host, ask: Ask) -> None:
        host.refuse(os, "memfd_create", EPERM)
        assert ask(security, "executable memory files").verdict == DEGRADED

    def test_missing_seccomp_and_libseccomp_are_reported(
        self, host: Host, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.answer(security, "knows_flags", False)
        assert ask(security, "seccomp").verdict == LACKING
        assert ask(security, "seccomp agents").verdict == DEGRADED

        def missing() -> object:
            raise FileNotFoundError("libseccomp.so.2")

        monkeypatch.setattr(security, "Library", missing)
        assert ask(security, "libseccomp").found == "libseccomp.so.2 is not installed"

    def test_apparmor_and_selinux_are_recognised(self, host: Host, ask: Ask) -> None:
        assert ask(security, "AppArmor").verdict == LACKING
        assert ask(security, "SELinux").verdict == LACKING
        host.files["/sys/module/apparmor/parameters/enabled"] = "N"
        assert ask(security, "AppArmor").found == "switched off"
        host.files["/sys/module/apparmor/parameters/enabled"] = "Y"
        host.files["/sys/fs/selinux/enforce"] = "0"
        assert ask(security, "AppArmor").verdict == OK
        assert ask(security, "SELinux").found == "permissive"

    def test_missing_capabilities_are_named(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(security, "last_capability", lambda: 30)
        monkeypatch.setattr(security, "in_bounding_set", lambda number: number not in (21, 24))
        finding = ask(security, "capabilities")
        assert finding.found == "without CAP_SYS_ADMIN, CAP_SYS_RESOURCE"
        assert "only in user namespaces" in finding.consequence
        assert "hard rlimit" in finding.consequence

    def test_a_refused_keyring_is_degraded(self, host: Host, ask: Ask) -> None:
        host.refuse(security, "in_child", EPERM)
        assert ask(security, "session keyring").verdict == DEGRADED
        host.refuse(security, "in_child", ENOSYS)
        assert ask(security, "session keyring").verdict == OK


class TestSurroundings:
    """Programs and folders that are not there."""

    def test_missing_and_failing_programs_are_named(
        self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert ask(surroundings, "ps").verdict == DEGRADED
        assert ask(surroundings, "criu").found == "there is no criu in PATH"
        (tmp_path / "criu").write_text("#!/bin/sh\necho 'Error: no page server' >&2; exit 1\n")
        (tmp_path / "criu").chmod(0o755)
        assert ask(surroundings, "criu").found == "criu check: Error: no page server"
        (tmp_path / "criu").write_text("#!/bin/sh\necho Looks good.\n")
        assert ask(surroundings, "criu").verdict == OK

    def test_a_criu_that_hangs(self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip  # noqa: E501
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(surroundings, "CRIU_SECONDS", 0.2)
        (tmp_path / "criu").write_text("#!/bin/sh\nexec sleep 9\n")
        (tmp_path / "criu").chmod(0o755)
        assert "has not ended" in ask(surroundings, "criu").found

    def test_few_open_files_are_reported(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 4096))
        assert ask(surroundings, "limits").found == "64 open files (of 4096)"

    def test_a_missing_systemd_bus_is_reported(
        self, host: Host, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.be(1000)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        assert ask(surroundings, "systemd bus").found == "XDG_RUNTIME_DIR is not set"
        monkeypatch.setattr("os.path.isdir", lambda _: False)
        host.be(0)
        assert "not booted with systemd" in ask(surroundings, "systemd bus").found

    def test_a_notify_socket(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        assert ask(surroundings, "NOTIFY_SOCKET").verdict == OK
        for address in ("/no/such", "@no-such"):
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            assert ask(surroundings, "NOTIFY_SOCKET").verdict == DEGRADED

    def test_the_state_root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        look = surroundings.state_root(str(tmp_path / "a/b"))
        assert look() == f"{tmp_path}/a/b, which can be created"
        monkeypatch.setattr("os.access", lambda *_: False)
        with pytest.raises(Lacks, match="is not writable"):
            look()
        with pytest.raises(Lacks, match=r"read-only|not writable"):
            surroundings.state_root("/proc/nothing")()
