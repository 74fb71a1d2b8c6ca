"""Machines of the vm engine that are restored from a saved state in place of a boot.

Source: docs/vm.md#saved-states.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.bars import FULL
from harness.box import Box
from harness.machine import REPO
from harness.machines import BOOT_S, qemu, tmpfs
from harness.needs import needs
from harness.runtime import Result, wait_until

from ocirun.engines.vm.machine import INITRD, KERNEL
from ocirun.engines.vm.qemu import Hardware, command_line, user_options
from ocirun.engines.vm.qmp import Qmp
from ocirun.engines.vm.restore import restore
from ocirun.engines.vm.saved import KEPT, SavedState
from ocirun.errors import SetupError

pytestmark = needs("ours", "root", "machines")

MIB = 1 << 20
OTHER_UID = 1000


@pytest.fixture
def states() -> Iterator[Path]:
    """Yield the folder of saved states, which is empty at first, and has room."""
    place = next(REPO.glob(".venv/lib/python3*/site-packages/ocirun/vm")) / "saved"
    with tmpfs(place, "size=200m"):
        yield place


def run(box: Box, *script: str) -> tuple[Result, list[str]]:
    """Run a script in a machine; return the call, and what the engine says about its boot."""
    container = box.container(None, "sh", "-c", "\n".join(script))
    words = ("--debug", "--engine", "vm", "run", "--bundle", container.bundle.path, container.id)
    call = box.runtime.call(*words, bundle=container.bundle, timeout=BOOT_S).ok()
    said = [str(line["msg"]) for line in call.log_lines]
    return call, [line for line in said if line.startswith("vm: ")]


def test_machines_restored_from_one_state_differ_and_know_the_time(box: Box, states: Path) -> None:
    """One boot. Without a new seed, two restored machines give the same numbers and an old time."""
    script = ("cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id",
              "head -c 32 /dev/urandom | sha256sum", "date +%s")  # fmt: skip
    numbers: set[str] = set()
    for turn in range(3):
        call, said = run(box, *script)
        assert ("restored from" in said[0]) == (turn > 0), said
        assert [path.name for path in states.iterdir()] == [said[-1].rpartition("/")[2]]
        *drawn, date = call.stdout.splitlines()
        numbers.update(drawn)
        assert abs(int(date) - time.time()) < 5
    assert len(numbers) == 9
    state = next(states.iterdir())
    assert state.stat().st_mode == 0o100600
    assert states.stat().st_mode == 0o40700


@pytest.mark.skipif(not FULL, reason="with OCIRUN_BARS=full: it boots machines")
def test_a_machine_boots_where_its_state_is_broken_or_cannot_be_saved(
    box: Box, states: Path
) -> None:
    run(box, "true")
    state = next(states.iterdir())
    whole = state.stat().st_size
    os.truncate(state, whole // 2)
    _, said = run(box, "true")
    assert "not restored from" in said[0]
    assert "saved" in said[1]
    assert state.stat().st_size > whole // 2
    os.chown(state, OTHER_UID, OTHER_UID)
    _, said = run(box, "true")
    assert "belongs to another user" in said[0]
    assert state.stat().st_uid == 0
    state.unlink()
    with tmpfs(states, "size=1m"):
        _, said = run(box, "true")
        assert "not saved: making " in said[1]
        assert said[1].endswith("no space left on device")
        assert not list(states.iterdir())


@pytest.fixture
def hardware(tmp_path: Path) -> Hardware:
    """Return a machine that is small and never started, so that its state is made in a moment."""
    place = next(REPO.glob(".venv/lib/python3*/site-packages/ocirun/vm"))
    return Hardware(
        qemu(),
        str(place / KERNEL),
        str(place / INITRD),
        memory=64 * MIB,
        cpus=1,
        has_kvm=False,
        states=str(tmp_path / "saved"),
    )


@contextlib.contextmanager
def idle_qemu(hardware: Hardware) -> Iterator[tuple[Qmp, int, int]]:
    """Yield the conversation with a machine that has not run yet, its pid, and its memory."""
    memory = os.memfd_create("test")
    os.ftruncate(memory, hardware.memory)
    pairs = [socket.socketpair() for _ in range(3)]
    qmp, agent, console = (theirs.fileno() for _, theirs in pairs)
    user = user_options(hardware.hypervisor)
    words = command_line(hardware, qmp=qmp, agent=agent, console=console, memory=memory, user=user)
    with subprocess.Popen([*words, "-S"], pass_fds=(qmp, agent, console, memory)) as process:
        for _, theirs in pairs:
            theirs.close()
        try:
            conversation = Qmp(pairs[0][0].fileno())
            conversation.greet()
            yield conversation, process.pid, memory
        finally:
            process.kill()
            os.close(memory)
            for ours, _ in pairs:
                ours.close()


def test_a_state_is_there_whole_or_not_at_all(hardware: Hardware, tmp_path: Path) -> None:
    state = SavedState(hardware)
    folder = tmp_path / "saved"
    assert state.open() == -1
    with idle_qemu(hardware) as (qmp, pid, memory):
        with tmpfs(folder, "size=64k"), pytest.raises(SetupError, match="no space left on device"):
            state.save(qmp, memory)
        assert qmp.command("query-status")["running"] is True
        # Killed in the midst: QEMU does not write while it is stopped.
        os.kill(pid, signal.SIGSTOP)
        saving = os.fork()
        if saving == 0:
            try:
                state.save(qmp, memory)
            finally:
                os._exit(1)
        fds = Path(f"/proc/{saving}/fd")
        wait_until(lambda: any("#" in os.readlink(fd) for fd in fds.iterdir()), "its file")
        os.kill(saving, signal.SIGKILL)
        os.waitpid(saving, 0)
        os.kill(pid, signal.SIGCONT)
        assert not list(folder.iterdir())
    for age in range(KEPT + 1):
        (folder / f"old-{age}").touch()
        os.utime(folder / f"old-{age}", (age, age))
    with idle_qemu(hardware) as (qmp, _, memory):
        state.save(qmp, memory)
        state.save(qmp, memory)  # as a second machine would that is as quick
    assert {path.name for path in folder.iterdir()} == {state.name, "old-2", "old-3", "old-4"}
    os.close(state.open())


def test_a_state_that_qemu_cannot_read_is_discarded(hardware: Hardware, tmp_path: Path) -> None:
    """The beginning of one, and one of a machine with other memory."""
    state = SavedState(hardware)
    with idle_qemu(hardware) as (qmp, _, memory):
        state.save(qmp, memory)
    path = Path(state.path)
    whole = path.read_bytes()
    hardware.memory = 72 * MIB
    other = SavedState(hardware)
    assert other.name != state.name
    share = tmp_path / "share"
    share.mkdir()
    for data in (whole[: len(whole) // 2], whole, b"", b"\0" * 8192):
        Path(other.path).write_bytes(data)
        Path(other.path).chmod(0o600)
        notes: list[str] = []
        assert restore(hardware, str(share), (), other, notes) is None
        assert "not restored from" in notes[0]
        assert "QEMU ended with status 1: qemu" in notes[0]
        assert not Path(other.path).exists()


def test_a_state_that_others_could_have_written_is_not_read(
    hardware: Hardware, tmp_path: Path
) -> None:
    state = SavedState(hardware)
    path, folder = Path(state.path), tmp_path / "saved"
    folder.mkdir(mode=0o700)

    def refused(words: str) -> None:
        with pytest.raises(SetupError, match=words):
            state.open()

    path.touch(0o600)
    os.close(state.open())
    os.chown(path, OTHER_UID, OTHER_UID)
    refused("belongs to another user")
    os.chown(path, 0, 0)
    path.chmod(0o620)
    refused("can be written by other users")
    path.unlink()
    os.mkfifo(path, 0o600)
    refused("is of another kind")
    path.unlink()
    path.symlink_to("/dev/null")
    refused("opening .*: ")
    path.unlink()
    path.touch(0o600)
    folder.chmod(0o777)
    refused("can be written by other users")
    with pytest.raises(SetupError, match="can be written by other users"):
        state.discard()
    with idle_qemu(hardware) as (qmp, _, memory), pytest.raises(SetupError, match="by other users"):
        state.save(qmp, memory)


def test_a_state_has_a_name_for_what_it_depends_on(hardware: Hardware, tmp_path: Path) -> None:
    hardware.kernel = str(tmp_path / "kernel")
    Path(hardware.kernel).write_bytes(b"one")
    names = [SavedState(hardware).name]
    hardware.cpus = 2
    names.append(SavedState(hardware).name)
    hardware.kernel_parameters = ("quiet",)
    names.append(SavedState(hardware).name)
    Path(hardware.kernel).write_bytes(b"other")
    names.append(SavedState(hardware).name)
    assert len(set(names)) == 4
    assert SavedState(hardware).name == names[-1]
    Path(hardware.kernel).unlink()
    with pytest.raises(SetupError, match="naming the saved state of a machine: no such"):
        SavedState(hardware)
