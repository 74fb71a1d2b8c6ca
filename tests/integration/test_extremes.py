"""Very long, very many, not text: what a configuration may be without being wrong.

Source: CVE-2021-43784; docs/runc-compat/security.md#vulnerabilities,
docs/runc-compat/cli.md#parsing.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates


def test_an_id_of_255_letters(box: Box) -> None:
    container = box.container(None, "/probe", "wait")
    container.id += "x" * (255 - len(container.id))
    container.create().ok()
    container.start().ok()
    assert container.status == "running"
    container.delete("--force").ok()


def test_a_configuration_of_ten_megabytes(box: Box) -> None:
    bundle = box.bundle()
    bundle.config["annotations"] = {f"note{n}": "é" * 1000 for n in range(5000)}
    container = box.created(bundle)
    assert len(container.state()["annotations"]) == 5000
    container.finished()


def test_a_thousand_mounts(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "grep -c /many/ /proc/self/mountinfo")
    for number in range(1000):
        bundle.add_mount(f"/many/{number}", "tmpfs", "tmpfs", "nosuid")
    assert box.output(bundle) == "1000\n"


@needs("userns")
def test_more_binds_than_a_message_can_carry_descriptors(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "grep -c /many/ /proc/self/mountinfo")
    bundle.use_userns((0, 100000, 65536))
    source = bundle.path / "source"
    source.mkdir()
    for number in range(600):
        bundle.add_mount(f"/many/{number}", "bind", str(source), "bind", "ro")
    assert box.output(bundle) == "600\n"


def test_paths_that_no_socket_address_holds(box: Box) -> None:
    root = box.runtime.root = box.folder / Path(*["long" * 40] * 10) / "state"
    container = box.running()
    assert container.status == "running"
    assert root.is_dir()
    container.delete("--force").ok()


def test_paths_that_are_not_text(box: Box) -> None:
    folder = os.fsencode(box.folder) + b"/\xff\xfe"
    os.mkdir(folder)
    box.runtime.root = Path(os.fsdecode(folder)) / "state"
    bundle = box.bundle("sh", "-c", "exit 3")
    moved = Path(os.fsdecode(folder)) / "bundle"
    bundle.save()
    bundle.path.rename(moved)
    container = box.container(bundle)
    pid_file = Path(os.fsdecode(folder)) / "pid"
    flags = ["--bundle", moved, "--pid-file", pid_file]
    box.runtime.call("create", *flags, container.id).ok()
    assert pid_file.read_text().isdigit()
    assert container.state()["bundle"] == os.fspath(moved)
    container.delete("--force").ok()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_stdio_is_nothing_of_the_hosts(box: Box, closed: tuple[int, ...]) -> None:
    bundle = box.bundle("sh", "-c", "ls -l /proc/self/fd >/out; sleep 100")
    container = box.container(bundle)

    def close() -> None:
        for fd in closed:
            os.close(fd)

    container.create(preexec_fn=close)
    container.start().ok()
    container.wait_status("running")
    for fd in closed:
        assert os.readlink(f"/proc/{container.pid}/fd/{fd}") == "/dev/null"


def test_a_root_that_is_a_file(box: Box) -> None:
    box.runtime.root.write_text("")
    result = box.container().create()
    box.runtime.root.unlink()
    result.failed("state root", "is not a directory")


def test_the_roots_of_the_state_that_are_made_are_ours_alone(box: Box) -> None:
    box.runtime.root = box.folder / "a" / "b" / "c"
    box.created().delete().ok()
    for folder in (box.folder / "a", box.folder / "a" / "b", box.runtime.root):
        assert folder.stat().st_mode & 0o777 == 0o700


@peer_deviates("crun", "dies of the signal")
@pytest.mark.parametrize("verb", [("create",), ("run", "--detach"), ("run",)])
def test_a_record_that_may_not_be_written_is_a_sentence(box: Box, verb: tuple[str, ...]) -> None:
    """RLIMIT_FSIZE: the signal that the kernel sends with EFBIG ends a program without a word."""
    container = box.container()
    container.bundle.save()
    argv = [box.runtime.path, "--root", str(box.runtime.root), *verb]
    argv += ["--bundle", str(container.bundle.path), container.id]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, preexec_fn=no_files
    )
    assert done.returncode == 1
    if box.runtime.name == "ours":  # runc has a sentence for each of the places where it may fail
        assert b"config.json: file too large" in done.stderr
    assert os.listdir(box.runtime.root) == []


def test_the_signal_of_a_file_that_is_too_large_ends_the_program_and_its_hooks(box: Box) -> None:
    bundle = box.bundle("grep", "Sig[IC]", "/proc/self/status")
    hook = box.folder / "hook"
    script = f"grep Sig[IC] /proc/self/status >{hook}"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    for text in (box.output(bundle), hook.read_text()):
        for line in text.splitlines():
            assert not int(line.split()[1], 16) & 1 << (signal.SIGXFSZ - 1), line


def no_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_descriptors_of_our_own_are_never_preserved(box: Box) -> None:
    """The caller counts wrong: what has the next number by then is ours."""
    bundle = box.bundle()
    for verb in ("create", "run"):
        container = box.container(bundle)
        getattr(container, verb)("--preserve-fds", "1", close_fds=True).failed(
            "unable to stat preserved-fd"
        )


def test_a_cgroup_that_somebody_removed(box: Box) -> None:
    container = box.running()
    container.stop()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        assert line
    for top in Path("/sys/fs/cgroup").rglob(container.id):
        top.rmdir()
    assert container.status == "stopped"
    container.delete().ok()


@needs("cgroup v1")
@peer_deviates("runc", "needs some MiB itself, and says it otherwise")
def test_a_memory_limit_that_init_is_over_already(box: Box) -> None:
    bundle = box.bundle("/bin/true")
    bundle.linux["resources"] = {"memory": {"limit": 64 << 10}}
    box.container(bundle).create().failed("unable to set memory limit to 65536 (current usage: ")
