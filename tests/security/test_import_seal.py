"""CVE-2019-14271: nothing of the image is imported, loaded or looked up with the host's rights.

This holds for init and for processes of exec, whether they succeed or fail.

The root is a trap (harness/trapped.py): every name an interpreter, NSS, the dynamic loader, iconv
or the locale might open is there, and each open is seen.

Source: ARCHITECTURE.md#plan-then-act; CVE-2019-14271.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from harness import profiles
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates
from harness.terminal import ConsoleSocket
from harness.trapped import TrappedRoot

USUAL = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]
USUAL_SETS = dict.fromkeys(("bounding", "effective", "permitted"), USUAL)
Change = Callable[[Bundle], None]

pytestmark = needs("root")

ALL_SETTINGS = {
    "user": {"uid": 1000, "gid": 1000, "umask": 0o077, "additionalGids": [5]},
    "cwd": "/work dir/made",
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}],
    "noNewPrivileges": True,
    "oomScoreAdj": 500,
    "capabilities": {
        name: ["CAP_NET_BIND_SERVICE"]
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    },
}


def everything(bundle: Bundle) -> None:
    """Ask for every property that loads a module of its own."""
    bundle.process.update(ALL_SETTINGS, args=["/bin/true"])
    bundle.config["hostname"] = "trapped"
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "8000"}
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/acpi", "/sys/firmware"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/bus"]
    bundle.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
    bundle.set_namespace("cgroup")
    bundle.add_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    bundle.add_mount("/home/user", "tmpfs", "tmpfs", "size=1m", "tmpcopyup")
    hook = {"path": "/bin/true", "args": ["true"]}
    bundle.config["hooks"] = {
        moment: [hook]
        for moment in ("prestart", "createRuntime", "createContainer", "startContainer")
    }


def test_nothing_is_touched_with_every_property_set(box: Box) -> None:
    bundle = box.bundle()
    everything(bundle)
    with TrappedRoot(bundle) as traps:
        assert traps.count > 10_000
        box.container(bundle).run().ok()
        assert traps.touched() == ["home/user/"]  # which tmpcopyup has to list


@pytest.mark.parametrize("nnp", [True, False])
def test_nothing_is_touched_below_a_seccomp_filter(box: Box, nnp: bool) -> None:
    """libseccomp.so.2 is among the traps: only the parent may load it, and the host's."""
    bundle = box.bundle("/bin/true", noNewPrivileges=nnp)
    bundle.linux["seccomp"] = profiles.docker()
    with TrappedRoot(bundle) as traps:
        box.container(bundle).run().ok()
        assert traps.touched() == []


def test_nothing_is_touched_in_a_user_namespace(box: Box) -> None:
    bundle = box.bundle("/bin/true")
    with TrappedRoot(bundle) as traps:
        bundle.use_userns((0, 100000, 65536))
        traps.touched()
        box.container(bundle).run().ok()
        assert traps.touched() == []


@peer_deviates("crun", "refuses a terminal where the caller has none")
@peer_deviates("runc", "refuses a terminal where the caller has none")
def test_nothing_is_touched_with_a_terminal(box: Box) -> None:
    bundle = box.bundle("/bin/true", terminal=True)
    with TrappedRoot(bundle) as traps:
        box.container(bundle).run().ok()
        assert traps.touched() == []


def test_nothing_is_touched_with_a_console_socket(box: Box) -> None:
    bundle = box.bundle("/bin/true", terminal=True)
    with TrappedRoot(bundle) as traps, ConsoleSocket(box.folder / "console") as console:
        container = box.container(bundle)
        container.create("--console-socket", console.path).ok()
        console.receive()
        container.start().ok()
        container.wait_status("stopped")
        assert traps.touched() == []


def test_the_folder_of_the_program_is_no_place_for_modules(box: Box) -> None:
    bundle = box.bundle("/bin/true", cwd="/home/user")
    with TrappedRoot(bundle, cwd="/home/user") as traps:
        box.container(bundle).run().ok()
        assert traps.touched() == []


def no_program(bundle: Bundle) -> None:
    bundle.process["args"] = ["/no/such/program"]


def program_not_in_path(bundle: Bundle) -> None:
    bundle.process["args"] = ["nowhere"]


def program_is_a_directory(bundle: Bundle) -> None:
    bundle.process["args"] = ["/etc"]


def bad_format(bundle: Bundle) -> None:
    script = bundle.rootfs / "bin/garbage"
    script.write_bytes(b"\x7fELF garbage")
    script.chmod(0o755)
    bundle.process["args"] = ["/bin/garbage"]


def missing_interpreter(bundle: Bundle) -> None:
    script = bundle.rootfs / "bin/script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    bundle.process["args"] = ["/bin/script"]


def proc_is_a_link(bundle: Bundle) -> None:
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").symlink_to("tmp")


def unknown_filesystem(bundle: Bundle) -> None:
    bundle.add_mount("/mnt", "nosuchfs", "none")


def bad_mount_data(bundle: Bundle) -> None:
    bundle.add_mount("/mnt", "tmpfs", "none", "size=rubbish")


def missing_bind_source(bundle: Bundle) -> None:
    bundle.add_mount("/mnt", "bind", "/no/such/source", "bind")


def hostile_cwd(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/proc/self/fd/3"


def cwd_is_a_file(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/etc/passwd"


def unmapped_user(bundle: Bundle) -> None:
    bundle.use_userns((0, 100000, 1))
    bundle.process["user"] = {"uid": 5, "gid": 0}


def unmapped_group(bundle: Bundle) -> None:
    bundle.use_userns((0, 100000, 1))
    bundle.process["user"] = {"uid": 0, "gid": 5}


def unknown_sysctl(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.no.such.thing": "1"}


def refused_sysctl(bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"kernel.msgmax": "rubbish"}


def failing_hook(moment: str) -> Change:
    def change(bundle: Bundle) -> None:
        bundle.config["hooks"] = {moment: [{"path": "/bin/false", "args": ["false"]}]}

    change.__name__ = f"failing_{moment}"
    return change


def missing_hook(moment: str) -> Change:
    def change(bundle: Bundle) -> None:
        bundle.config["hooks"] = {moment: [{"path": "/no/such/hook"}]}

    change.__name__ = f"missing_{moment}"
    return change


def slow_hook(bundle: Bundle) -> None:
    hook = {"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}
    bundle.config["hooks"] = {"startContainer": [hook]}


FAILURES: list[Change] = [
    no_program,
    program_not_in_path,
    program_is_a_directory,
    bad_format,
    missing_interpreter,
    proc_is_a_link,
    unknown_filesystem,
    bad_mount_data,
    missing_bind_source,
    hostile_cwd,
    cwd_is_a_file,
    unmapped_user,
    unmapped_group,
    unknown_sysctl,
    refused_sysctl,
    failing_hook("createContainer"),
    missing_hook("createContainer"),
    failing_hook("startContainer"),
    missing_hook("startContainer"),
    slow_hook,
]


@peer_deviates("crun", "1.8 reads the image's /etc/localtime for its log", sometimes=True)
@pytest.mark.parametrize("change", FAILURES, ids=lambda change: change.__name__)
def test_nothing_is_touched_on_the_way_of_an_error(box: Box, change: Change) -> None:
    bundle = box.bundle("/bin/true")
    change(bundle)
    with TrappedRoot(bundle) as traps:
        traps.touched()
        result = box.container(bundle).run()
        assert result.status != 0
        assert "internal error" not in result.said
        assert traps.touched() == []


@needs("ours")
class TestExec:
    """A process that joins."""

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
    def test_a_failing_exec_touches_no_trap(self, box: Box, words: tuple[str, ...]) -> None:
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
