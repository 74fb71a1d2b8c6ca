"""`exec`: what the process is asked to be, by flags and by --process.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/init.md#exec; runtime-spec config.md#process.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import PATH
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

NET_RAW, CHOWN, KILL = 1 << 13, 1 << 0, 1 << 5
SETS = ("bounding", "effective", "permitted")


def three(*names: str) -> dict[str, Any]:
    """The capability sets that matter to root."""
    return {name: list(names) for name in SETS}


def seen(container: Container, *flags: str) -> dict[str, Any]:
    """What the probe sees when it is run by exec with these flags."""
    report: dict[str, Any] = container.exec("/probe", flags=flags).ok().json()
    return report


def process(*args: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Make a process.json with nothing but what it must have."""
    return {"args": list(args) or ["/probe"], "cwd": "/", "env": [PATH]} | changes


def seen_of(container: Container, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """What the probe sees when it is run by `exec --process`."""
    report: dict[str, Any] = container.exec_process(process(**changes)).ok().json()
    return report


class TestFlags:
    """Without --process it is the container's own process, changed by flags."""

    def test_the_containers_own_settings_hold(self, box: Box) -> None:
        bundle = box.bundle(
            "/probe",
            "wait",
            cwd="/tmp",
            env=[PATH, "OWN=1"],
            user={"uid": 1000, "gid": 1001, "additionalGids": [5]},
            noNewPrivileges=True,
            rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
            oomScoreAdj=321,
        )
        report = seen(box.running(bundle))
        assert report["cwd"] == "/tmp"
        assert "OWN=1" in report["env"]
        assert (report["uids"], report["gids"]) == ([1000] * 3, [1001] * 3)
        assert report["groups"] == [5]
        assert report["no_new_privs"] is True
        assert report["rlimits"]["NOFILE"] == [77, 88]
        assert report["oom_score_adj"] == 321

    @peer_deviates("runc", "1.1 does not pass the umask on")
    def test_the_umask_is_the_containers(self, box: Box) -> None:
        user = {"uid": 0, "gid": 0, "umask": 0o027}
        assert seen(box.running(box.bundle("/probe", "wait", user=user)))["umask"] == 0o027

    def test_cwd_sets_the_working_directory(self, box: Box) -> None:
        assert seen(box.running(), "--cwd", "/home/user")["cwd"] == "/home/user"

    @pytest.mark.parametrize("cwd", ["tmp", "./"])
    def test_a_relative_cwd_is_refused(self, box: Box, cwd: str) -> None:
        box.running().exec("/probe", flags=("--cwd", cwd)).failed("absolute", status=255)

    def test_a_cwd_that_is_not_there(self, box: Box) -> None:
        box.running().exec("/probe", flags=("--cwd", "/no")).failed("no such file", status=255)

    def test_env_is_added(self, box: Box) -> None:
        report = seen(box.running(), "-e", "A=1", "-e", "B=x=y, z", "-e", "A=2")
        assert PATH in report["env"]
        assert {"A=2", "B=x=y, z"} <= set(report["env"])
        assert "A=1" not in report["env"]

    def test_path_of_the_flags_finds_the_program(self, box: Box) -> None:
        container = box.running()
        os.link(container.bundle.rootfs / "probe", container.bundle.rootfs / "home/user/finder")
        assert container.exec("finder", "exit", "4", flags=("-e", "PATH=/home/user")).status == 4

    def test_the_environment_of_the_runtime_does_not_leak(self, box: Box) -> None:
        env = {**os.environ, "SECRET": "1", "PYTHONPATH": "/x", "LD_LIBRARY_PATH": "/y"}
        report = box.running().exec("/probe", env=env).ok().json()
        assert sorted(report["env"]) == ["HOME=/root", PATH]

    @pytest.mark.parametrize(
        ("word", "ids"),
        [("1", (1, 7)), ("1000:1001", (1000, 1001)), ("0:5", (0, 5)), ("0", (0, 7))],
    )
    def test_user_sets_the_ids_and_keeps_the_containers_group(
        self, box: Box, word: str, ids: tuple[int, int]
    ) -> None:
        bundle = box.bundle("/probe", "wait", user={"uid": 4, "gid": 7})
        report = seen(box.running(bundle), "--user", word)
        assert (report["uids"], report["gids"]) == ([ids[0]] * 3, [ids[1]] * 3)

    def test_the_home_is_that_of_the_user(self, box: Box) -> None:
        assert "HOME=/home/user" in seen(box.running(), "-u", "1000")["env"]

    @pytest.mark.parametrize("word", ["user", "1:user", ":1", "1:", "1:2:3", "0x10", "1.0"])
    def test_a_user_that_is_no_number_is_refused(self, box: Box, word: str) -> None:
        assert box.running().exec("/probe", flags=("--user", word)).status != 0

    @needs("ours")
    @pytest.mark.parametrize("word", ["-1", "+1", " 1", "4294967295", "99999999999", "١"])
    def test_a_user_beyond_all_ids_is_refused(self, box: Box, word: str) -> None:
        box.running().exec("/probe", flags=(f"--user={word}",)).failed(status=255)

    def test_a_numeric_user_is_never_looked_up_as_a_name(self, box: Box) -> None:
        """Security: CVE-2016-3697."""
        container = box.running()
        (container.bundle.rootfs / "etc/passwd").write_text("1000:x:0:0:evil:/evil:/bin/sh\n")
        assert seen(container, "--user", "1000")["uids"] == [1000] * 3

    def test_additional_gids_are_added_to_the_containers(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", user={"uid": 0, "gid": 0, "additionalGids": [9]})
        report = seen(box.running(bundle), "-g", "5", "-g", "77")
        assert sorted(report["groups"]) == [5, 9, 77]

    def test_no_new_privs(self, box: Box) -> None:
        container = box.running()
        assert seen(container, "--no-new-privs")["no_new_privs"] is True
        assert seen(container)["no_new_privs"] is False

    def test_process_flags_do_not_change_the_container(self, box: Box) -> None:
        container = box.running()
        seen(container, "-e", "A=1", "-u", "5", "--cwd", "/tmp", "-g", "8")
        report = seen(container)
        assert report["uids"] == [0] * 3
        assert "A=1" not in report["env"]
        assert (report["cwd"], report["groups"]) == ("/", [])

    def test_nothing_to_run(self, box: Box) -> None:
        assert box.running().exec().status != 0

    def test_options_after_the_id_are_the_programs(self, box: Box) -> None:
        assert box.running().exec("/bin/echo", "-d", "--help").ok().stdout == "-d --help\n"


class TestProcessFile:
    """`--process FILE`: all of it counts, and what it leaves out is the container's."""

    def test_everything_is_taken(self, box: Box) -> None:
        report = seen_of(
            box.running(),
            args=["/probe", "report"],
            cwd="/tmp",
            env=[PATH, "A=b"],
            user={"uid": 3, "gid": 4, "additionalGids": [5, 6]},
            rlimits=[{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
            noNewPrivileges=True,
            capabilities={"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        )
        assert (report["argv"], report["cwd"]) == (["/probe", "report"], "/tmp")
        assert "A=b" in report["env"]
        assert (report["uids"], report["gids"]) == ([3] * 3, [4] * 3)
        assert sorted(report["groups"]) == [5, 6]
        assert report["rlimits"]["CORE"] == [1, 2]
        assert report["no_new_privs"] is True
        assert report["capabilities"]["bounding"] == KILL

    def test_environment_user_and_cwd_are_not_the_containers(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", env=[PATH, "OWN=1"], user={"uid": 8, "gid": 8})
        report = seen_of(box.running(bundle))
        assert "OWN=1" not in report["env"]
        assert (report["uids"], report["gids"]) == ([0] * 3, [0] * 3)

    def test_other_process_flags_are_ignored(self, box: Box) -> None:
        flags = ("--cwd", "/tmp", "-e", "A=1", "-u", "5", "-g", "8", "--no-new-privs")
        report = box.running().exec_process(process(), *flags).ok().json()
        assert (report["cwd"], report["uids"], report["groups"]) == ("/", [0] * 3, [])
        assert "A=1" not in report["env"]
        assert report["no_new_privs"] is False

    @pytest.mark.parametrize("left_out", [{}, {"capabilities": None}])
    def test_capabilities_are_inherited(self, box: Box, left_out: dict[str, Any]) -> None:
        container = box.running(box.bundle("/probe", "wait", capabilities=three("CAP_KILL")))
        report = seen_of(container, **left_out)
        assert [report["capabilities"][name] for name in SETS] == [KILL] * 3

    @peer_deviates("runc", "1.1 inherits none")
    @peer_deviates("crun", "inherits none")
    @pytest.mark.parametrize("left_out", [{}, {"rlimits": []}])
    def test_rlimits_are_inherited(self, box: Box, left_out: dict[str, Any]) -> None:
        limits = [{"type": "RLIMIT_CORE", "soft": 3, "hard": 4}]
        report = seen_of(box.running(box.bundle("/probe", "wait", rlimits=limits)), **left_out)
        assert report["rlimits"]["CORE"] == [3, 4]

    @peer_deviates("runc", "takes a missing noNewPrivileges for false")
    @peer_deviates("crun", "takes a missing noNewPrivileges for false")
    def test_no_new_privs_is_inherited(self, box: Box) -> None:
        container = box.running(box.bundle("/probe", "wait", noNewPrivileges=True))
        assert seen_of(container)["no_new_privs"] is True

    def test_no_new_privs_can_be_left_off(self, box: Box) -> None:
        container = box.running(box.bundle("/probe", "wait", noNewPrivileges=True))
        assert seen_of(container, noNewPrivileges=False)["no_new_privs"] is False

    @peer_deviates("crun", "leaves the caller's own")
    def test_the_oom_score_is_inherited(self, box: Box) -> None:
        container = box.running(box.bundle("/probe", "wait", oomScoreAdj=432))
        assert seen_of(container)["oom_score_adj"] == 432

    @peer_deviates("runc", "1.1 does not pass the umask on")
    def test_the_umask_is_the_containers(self, box: Box) -> None:
        user = {"uid": 0, "gid": 0, "umask": 0o077}
        container = box.running(box.bundle("/probe", "wait", user=user))
        assert seen_of(container)["umask"] == 0o077

    def test_args_are_required(self, box: Box) -> None:
        call = box.running().exec_process({"cwd": "/", "args": []})
        assert call.status != 0

    @needs("ours")
    def test_every_broken_rule_is_named(self, box: Box) -> None:
        broken = process(cwd=1, rlimits=[{"type": "RLIMIT_CORE", "soft": "x", "hard": 2}])
        box.running().exec_process(broken).failed("/cwd", "/rlimits/0/soft", status=255)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null"])
    def test_a_file_that_is_no_process(self, box: Box, text: str) -> None:
        container = box.running()
        file = box.folder / "process.json"
        file.write_text(text)
        assert container.exec(flags=("--process", file)).status != 0

    def test_a_file_that_is_not_there(self, box: Box) -> None:
        assert box.running().exec(flags=("--process", box.folder / "no")).status == 255


class TestConfig:
    """The container's configuration is the one it was created with."""

    @peer_deviates("runc", "reads config.json of the bundle again")
    def test_later_edits_of_the_bundle_do_not_leak(self, box: Box) -> None:
        container = box.running(box.bundle("/probe", "wait", env=[PATH, "OWN=1"]))
        bundle = container.bundle
        bundle.process.update(env=[PATH, "LEAK=1"], cwd="/tmp", user={"uid": 5, "gid": 5})
        bundle.save()
        report = seen(container)
        assert "OWN=1" in report["env"]
        assert "LEAK=1" not in report["env"]
        assert (report["cwd"], report["uids"]) == ("/", [0] * 3)

    @peer_deviates("runc", "reads config.json of the bundle again")
    def test_the_bundles_config_may_be_gone(self, box: Box) -> None:
        container = box.running()
        text = (container.bundle.path / "config.json").read_bytes()
        (container.bundle.path / "config.json").unlink()
        assert container.exec("/bin/true").status == 0
        (container.bundle.path / "config.json").write_bytes(text)

    def test_sysctls_of_the_container_are_no_hindrance(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["sysctl"] = {"kernel.msgmax": "8000"}
        container = box.running(bundle)
        assert container.exec("cat", "/proc/sys/kernel/msgmax").ok().stdout == "8000\n"

    @needs("ours")
    def test_cap_where_a_container_has_none(self, box: Box) -> None:
        """Without process.capabilities it has what is added (runc panics)."""
        container = box.running()
        assert set(seen(container)["capabilities"].values()) == {0}
        found = seen(container, "--cap", "CAP_KILL")["capabilities"]
        kill = 1 << 5
        three = dict.fromkeys(("bounding", "effective", "permitted"), kill)
        assert found == three | {"inheritable": 0, "ambient": 0}

    @needs("ours")
    def test_cap_of_an_unknown_name_is_a_warning(self, box: Box) -> None:
        call = box.running().exec("/bin/true", flags=("--cap", "CAP_NOPE")).ok()
        assert "capability CAP_NOPE is unknown to this kernel" in call.said


class TestLabels:
    """A label the machine cannot give is refused, never left out."""

    @needs("ours")
    @pytest.mark.parametrize(
        ("flag", "word"), [("--apparmor", "apparmor"), ("--process-label", "selinux")]
    )
    def test_a_label_flag_without_its_module_is_refused(
        self, box: Box, flag: str, word: str
    ) -> None:
        label = "no-such-profile" if flag == "--apparmor" else "system_u:system_r:x_t:s0"
        box.running().exec("/bin/true", flags=(flag, label)).failed(word, status=255)

    @pytest.mark.parametrize("name", ["apparmorProfile", "selinuxLabel"])
    def test_a_label_in_the_process_file_without_its_module_is_refused(
        self, box: Box, name: str
    ) -> None:
        call = box.running().exec_process(process("/bin/true", **{name: "no-such-label"}))
        assert call.status == 255
