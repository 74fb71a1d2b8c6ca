"""`exec`: nothing of the host is lent to the container, not even on the way in.

Source: docs/runc-compat/security.md#vulnerabilities, docs/runc-compat/security.md#invariants;
ARCHITECTURE.md#plan-then-act.
"""

from __future__ import annotations

import hashlib
import os
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.trapped import TrappedRoot

pytestmark = needs("root")

USUAL = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]
USUAL_SETS = dict.fromkeys(("bounding", "effective", "permitted"), USUAL)
NO_MKDIR = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
}


class TestHostileCwd:
    """Security: CVE-2024-21626."""

    def test_no_descriptor_of_ours_is_a_way_out(self, box: Box) -> None:
        container = box.running()
        folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(folder, True)
        for number in [*range(3, 21), folder]:
            cwd = f"/proc/self/fd/{number}"
            call = container.exec("/bin/ls", flags=("--cwd", cwd), close_fds=False)
            assert call.status == 255, cwd
        os.close(folder)

    @peer_deviates("crun", "resolves it", sometimes=True)
    @pytest.mark.parametrize("cwd", ["/proc/self/root", "/proc/1/cwd", "/proc/self/cwd"])
    def test_magic_links_are_no_directories(self, box: Box, cwd: str) -> None:
        call = box.running().exec("pwd", flags=("--cwd", cwd))
        assert call.status == 255 or call.stdout == "/\n"

    def test_a_link_stays_inside(self, box: Box) -> None:
        container = box.running()
        (container.bundle.rootfs / "link").symlink_to("/../../etc")
        call = container.exec("cat", "hostname", flags=("--cwd", "/link"))
        assert call.ok().stdout == "rootfs\n"


class TestStalked:
    """Security: CVE-2016-9962. A process of the container sees nothing of one on its way in."""

    def stalk(self, container: Container) -> None:
        for _ in range(15):
            assert container.exec("/probe", "exit", "3").status == 3
        lines = container.output.split("ready\n", 1)[1].splitlines()
        assert [line for line in lines if not line.startswith("met ")] == []
        assert len(lines) > 5, "the stalker has seen too few processes to tell anything"
        container.kill("KILL").ok()

    def stalker(self, box: Box, **process: Any) -> Container:  # noqa: ANN401
        bundle = box.bundle("/probe", "stalk", capabilities=USUAL_SETS, **process)
        return box.container(bundle)

    def begun(self, container: Container) -> Container:
        container.create().ok()
        container.start().ok()
        container.wait_output("ready")
        return container

    def test_root_of_the_container_cannot_trace_exec(self, box: Box) -> None:
        self.stalk(self.begun(self.stalker(box)))

    def test_for_a_user(self, box: Box) -> None:
        user = {"uid": 1000, "gid": 1000}
        self.stalk(self.begun(self.stalker(box, user=user)))

    @needs("userns")
    def test_in_a_user_namespace(self, box: Box) -> None:
        container = self.stalker(box)
        container.bundle.use_userns((0, 100000, 65536))
        self.stalk(self.begun(container))

    @needs("userns")
    def test_in_a_user_namespace_with_a_filter(self, box: Box) -> None:
        container = self.stalker(box)
        container.bundle.use_userns((0, 100000, 65536))
        container.bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        self.stalk(self.begun(container))


class TestFilter:
    """linux.seccomp holds for every process of the container."""

    @pytest.mark.parametrize("flags", [(), ("--no-new-privs",), ("--user", "1000")])
    def test_the_containers_filter_applies_to_exec(self, box: Box, flags: tuple[str, ...]) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["seccomp"] = NO_MKDIR
        container = box.running(bundle)
        call = container.exec("/probe", "try", "mkdir:/tmp/x", "create:/tmp/y", flags=flags)
        assert [entry["errno"] for entry in call.ok().json()] == [EPERM, 0]
        assert container.exec("/probe", flags=flags).ok().json()["seccomp"] == "2"

    def test_it_applies_to_a_process_file(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["seccomp"] = NO_MKDIR
        process = {"args": ["/probe", "try", "mkdir:/tmp/x"], "cwd": "/"}
        call = box.running(bundle).exec_process(process)
        assert call.ok().json()[0]["errno"] == EPERM


class TestExecutable:
    """Security: CVE-2019-5736."""

    @needs("ours")
    @pytest.mark.parametrize("path", ["/proc/self/exe", "/proc/thread-self/exe"])
    def test_the_runtime_itself_is_no_program(self, box: Box, path: str) -> None:
        box.running().exec(path).failed("permission denied", status=255)

    def test_a_script_of_it_changes_nothing(self, box: Box) -> None:
        container = box.running()
        script = container.bundle.rootfs / "bin/evil"
        script.write_text("#!/proc/self/exe\n")
        script.chmod(0o755)
        runtime = Path(container.runtime.path)
        before = hashlib.sha256(runtime.read_bytes()).hexdigest()
        container.exec("/bin/evil", timeout=20)
        assert hashlib.sha256(runtime.read_bytes()).hexdigest() == before


@needs("ours")
class TestTraps:
    """No file of the image is imported, loaded or looked up (CVE-2019-14271)."""

    def test_a_program_by_flags(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", capabilities=USUAL_SETS)
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        with TrappedRoot(bundle) as traps:
            container = box.running(bundle)
            traps.touched()
            flags = ("-u", "1000", "-g", "5", "--no-new-privs", "-c", "CAP_KILL", "--cwd", "/tmp")
            container.exec("/bin/true", flags=flags).ok()
            assert traps.touched() == []

    def test_a_process_with_everything(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        process = {
            "args": ["/bin/true"],
            "cwd": "/home/user",
            "env": ["PATH=/bin", "LANG=de_DE.UTF-8", "LC_ALL=xx"],
            "user": {"uid": 1000, "gid": 1000, "additionalGids": [5]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
            "noNewPrivileges": True,
            "oomScoreAdj": 500,
            "capabilities": USUAL_SETS,
            "execCPUAffinity": {"initial": "0", "final": "0"},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
            "scheduler": {"policy": "SCHED_BATCH"},
        }
        with TrappedRoot(bundle, cwd="/home/user") as traps:
            container = box.running(bundle)
            traps.touched()
            container.exec_process(process).ok()
            assert traps.touched() == []

    @pytest.mark.parametrize("flags", [("--tty",), ("--debug-first",)])
    def test_a_terminal_and_a_talkative_call(self, box: Box, flags: tuple[str, ...]) -> None:
        bundle = box.bundle("/probe", "wait")
        with TrappedRoot(bundle) as traps:
            container = box.running(bundle)
            traps.touched()
            words: tuple[str, ...] = ("exec", *flags, container.id, "/bin/true")
            if flags == ("--debug-first",):
                words = ("--debug", "exec", container.id, "/bin/true")
            container.runtime.call(*words).ok()
            assert traps.touched() == []

    def test_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        with TrappedRoot(bundle) as traps:
            bundle.use_userns((0, 100000, 65536))
            container = box.running(bundle)
            traps.touched()
            container.exec("/bin/true", flags=("--user", "1000")).ok()
            assert traps.touched() == []

    @pytest.mark.parametrize(
        "words",
        [
            ("/no/such",),
            ("nowhere",),
            ("/etc",),
            ("--cwd", "/no", "true"),
            ("--cwd", "/proc/self/fd/3", "true"),
            ("--user", "4294967294", "/no/such"),
            ("--cgroup", "none", "true"),
        ],
    )
    def test_a_failing_exec_opens_no_file_of_the_root(
        self, box: Box, words: tuple[str, ...]
    ) -> None:
        bundle = box.bundle("/probe", "wait")
        with TrappedRoot(bundle) as traps:
            container = box.running(bundle)
            traps.touched()
            container.exec(*words[-1:], flags=words[:-1]).failed(status=255)
            assert traps.touched() == []

    def test_a_passwd_that_is_a_fifo_holds_nobody_up(self, box: Box) -> None:
        container = box.running()
        (container.bundle.rootfs / "etc/passwd").unlink()
        os.mkfifo(container.bundle.rootfs / "etc/passwd")
        assert "HOME=/" in container.exec("/probe", timeout=10).ok().json()["env"]
