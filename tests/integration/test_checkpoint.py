"""A container saved by checkpoint goes on after restore where it was.

Source: docs/runc-compat/checkpoint.md.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until
from harness.saved import COUNT, PATIENCE_S, Saved, skip_where_criu_says
from harness.terminal import ConsoleSocket

pytestmark = [needs("root", "criu")]


def test_a_counter_counts_on(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        saved.checkpoint().ok()
        last = saved.pipe.numbers[-1]
        saved.container.runtime.call("state", saved.container.id).failed("does not exist")
        pid_file = box.folder / "pid"
        saved.restore("--pid-file", pid_file).ok()
        saved.pipe.count_on()
        numbers = saved.pipe.numbers
        assert numbers == list(range(last + 1, last + 1 + len(numbers)))
        assert saved.container.status == "running"
        assert pid_file.read_text() == str(saved.container.pid)


def test_it_can_be_saved_again(box: Box) -> None:
    """With more than one process: a shell and what it runs."""
    with Saved(box, box.bundle("sh", "-c", COUNT)).run() as saved:
        for turn in range(2):
            saved.pipe.count_on()
            saved.images = box.folder / f"images{turn}"
            saved.checkpoint().ok()
            last = saved.pipe.numbers[-1]
            saved.restore().ok()
            saved.pipe.count_on()
            assert saved.pipe.numbers[0] == last + 1


def test_restored_containers_obey(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        assert saved.container.exec("echo", "inside").ok().stdout == "inside\n"
        box.runtime.call("pause", saved.container.id).ok()
        assert saved.container.status == "paused"
        box.runtime.call("resume", saved.container.id).ok()
        saved.container.stop()
        saved.container.delete().ok()


@peer_deviates("runc", "1.1 joins the namespaces of its config alone")
def test_exec_joins_the_time_namespace_that_criu_has_made(box: Box) -> None:
    """Otherwise it cannot be restored once it has been saved again."""
    with Saved(box).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        time = os.readlink(f"/proc/{saved.container.pid}/ns/time")
        assert time != os.readlink("/proc/self/ns/time")
        shown = saved.container.exec("readlink", "/proc/self/ns/time").ok().stdout
        assert shown.strip() == time
        saved.images = box.folder / "again"
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()


def test_leave_running_keeps_the_container_running(box: Box) -> None:
    with Saved(box).run() as saved:
        pid = saved.container.pid
        saved.checkpoint("--leave-running").ok()
        saved.pipe.count_on()
        assert (saved.container.status, saved.container.pid) == ("running", pid)
        saved.container.delete("--force").ok()
        saved.restore().ok()
        saved.pipe.count_on()


def test_a_paused_container_can_be_saved(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        box.runtime.call("pause", saved.container.id).ok()
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()


@needs("criu mem_dirty_track")
def test_a_chain_of_pre_dumps(box: Box) -> None:
    with Saved(box).run() as saved:
        images = box.folder / "chain"
        images.mkdir()
        saved.images = images / "first"
        saved.checkpoint("--pre-dump").ok()
        saved.images = images / "second"
        saved.checkpoint("--pre-dump", "--parent-path", "../first").ok()
        saved.pipe.count_on()
        assert saved.container.status == "running"
        assert not list(saved.images.glob("core-*.img"))
        saved.images = images / "last"
        saved.checkpoint("--parent-path", "../second").ok()
        last = saved.pipe.numbers[-1]
        assert os.readlink(saved.images / "parent") == "../second"
        saved.restore().ok()
        saved.pipe.count_on()
        assert saved.pipe.numbers[0] == last + 1


@pytest.mark.parametrize("parent", ["/absolute", "../missing"])
def test_a_parent_must_be_there(box: Box, parent: str) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--parent-path", parent).failed("parent")
        saved.pipe.count_on()


def test_restore_in_the_foreground_gives_the_exit_status(box: Box) -> None:
    program = "echo ready; while [ ! -e /end ]; do sleep 0.05; done; echo going; exit 7"
    with Saved(box, box.bundle("sh", "-c", program)).run() as saved:
        saved.pipe.wait("ready")
        saved.checkpoint().ok()
        words = saved.restore_words()
        process, result = box.runtime.spawn(*words, bundle=saved.bundle, **saved.stdio())
        wait_until(lambda: _status(saved) == "running", "a restored container", PATIENCE_S)
        (saved.bundle.rootfs / "end").touch()
        finish(process, result, PATIENCE_S)
        assert result.status == 7, result.story()
        saved.pipe.wait("going")
        box.runtime.call("state", saved.container.id).failed("does not exist")


def test_a_program_that_ends_at_once_gives_its_exit_status_too(box: Box) -> None:
    program = "echo ready; while [ ! -e /end ]; do sleep 0.05; done; exit 7"
    with Saved(box, box.bundle("sh", "-c", program)).run() as saved:
        saved.pipe.wait("ready")
        saved.checkpoint().ok()
        (saved.bundle.rootfs / "end").touch()
        words = saved.restore_words()
        process, result = box.runtime.spawn(*words, bundle=saved.bundle, **saved.stdio())
        finish(process, result, PATIENCE_S)
        assert result.status == 7, result.story()


def _status(saved: Saved) -> str:
    answer = saved.box.runtime.call("state", saved.container.id)
    return str(answer.json()["status"]) if answer.status == 0 else ""


def test_signals_reach_it_through_restore_in_the_foreground(box: Box) -> None:
    program = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with Saved(box, box.bundle("sh", "-c", program)).run() as saved:
        saved.pipe.wait("ready")
        saved.checkpoint().ok()
        words = saved.restore_words()
        process, result = box.runtime.spawn(*words, bundle=saved.bundle, **saved.stdio())
        wait_until(lambda: _status(saved) == "running", "a restored container", PATIENCE_S)
        process.terminate()
        finish(process, result, PATIENCE_S)
        assert result.status == 9, result.story()
        saved.pipe.wait("told")


def test_a_terminal_goes_to_the_new_console_socket(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "echo ready; while read line; do echo got $line; done")
    bundle.process["terminal"] = True
    saved = Saved(box, bundle)
    with saved, ConsoleSocket(box.folder / "first") as first:
        box.container(bundle)
        saved.container.run("--detach", "--console-socket", first.path).ok()
        first.receive()
        first.read_until("ready")
        saved.checkpoint().ok()
        with ConsoleSocket(box.folder / "second") as second:
            saved.restore("--console-socket", second.path).ok()
            second.receive()
            os.write(second.master, b"words\n")
            assert "got words" in second.read_until("got words")


def test_a_detached_terminal_needs_a_console_socket(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        bundle.process["terminal"] = True
        saved.restore().failed()
        bundle.process["terminal"] = False
        saved.restore().ok()


@peer_deviates("runc", "leaves a cgroup of the old name behind", sometimes=True)
def test_restored_again_under_another_name(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--leave-running").ok()
        saved.container.delete("--force").ok()
        saved.container = box.container(saved.bundle)
        saved.restore().ok()
        saved.pipe.count_on()
        saved.container.delete("--force").ok()


def test_only_what_runs_can_be_saved(box: Box) -> None:
    with Saved(box) as saved:
        saved.container.create(**saved.stdio()).ok()
        saved.checkpoint().failed("cannot be checkpointed")
        saved.container.start().ok()
        saved.container.stop()
        saved.checkpoint().failed("cannot be checkpointed")
        saved.container.delete().ok()
        saved.checkpoint().failed("does not exist")
        assert not saved.images.exists()


def test_a_name_in_use_is_not_restored_over(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--leave-running").ok()
        saved.restore().failed("container with given ID already exists")
        assert saved.container.status == "running"


def test_images_that_are_not_there(box: Box) -> None:
    with Saved(box) as saved:
        saved.restore().failed("no such file or directory")


@peer_deviates("runc", "says that CRIU failed, and not why")
@pytest.mark.parametrize("name", ["inventory.img", "pstree.img", "core-1.img"])
def test_broken_images_leave_nothing(box: Box, name: str) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint().ok()
        (saved.images / name).write_bytes(b"no image")
        work = box.folder / "work"
        saved.restore("--work-path", work).failed("criu failed", "Error (", f"{work}/restore.log")
        box.runtime.call("state", saved.container.id).failed("does not exist")


def test_a_missing_criu_leaves_the_container_alone(box: Box, tmp_path: Path) -> None:
    bare = {**os.environ, "PATH": str(tmp_path)}
    with Saved(box).run() as saved:
        saved.checkpoint(env=bare).failed("executable file not found in $PATH")
        saved.pipe.count_on()
        saved.checkpoint().ok()
        saved.restore(env=bare).failed("executable file not found in $PATH")
        saved.restore().ok()


@peer_deviates("runc", "says that CRIU failed and where its log is, not what it says")
def test_a_failed_dump_says_why_and_the_container_goes_on(box: Box) -> None:
    """A file of the host that is no pipe: CRIU finds no mount it would be on."""
    with Saved(box) as saved:
        outside = box.folder / "outside"
        with outside.open("wb") as file:
            saved.container.run("--detach", stdout=file, stderr=file).ok()
        work = box.folder / "work"
        saved.checkpoint("--work-path", work).failed("criu failed", "Error (", f"{work}/dump.log")
        size = outside.stat().st_size
        wait_until(lambda: outside.stat().st_size > size, "a container that goes on")
        assert saved.container.status == "running"
        assert work.stat().st_mode & 0o777 == 0o700
        assert saved.images.stat().st_mode & 0o77 == 0


def test_the_new_folders_are_for_nobody_else(box: Box) -> None:
    with Saved(box).run() as saved:
        work = box.folder / "work"
        saved.checkpoint("--work-path", work).ok()
        for folder in (saved.images, work):
            assert folder.stat().st_mode & 0o77 == 0
        assert (work / "dump.log").exists()
        assert not (saved.images / "dump.log").exists()
        saved.restore("--work-path", work).ok()
        assert (work / "restore.log").exists()


@peer_deviates("runc", "restores a connection over loopback where lo is down")
@needs("tool iptables")
def test_open_connections_are_kept_on_request(box: Box) -> None:
    with Saved(box, box.bundle("/probe", "count", "connected")).run() as saved:
        saved.pipe.count_on()
        saved.checkpoint().failed("criu failed")
        saved.pipe.count_on()
        result = saved.checkpoint("--tcp-established")
        # Kernel: from 6.16 on, SO_PASSCRED of a TCP socket is EOPNOTSUPP; CRIU 4.1 fails then.
        skip_where_criu_says("Can't get 1:16 opt", result)
        result.ok()
        last = saved.pipe.numbers[-1]
        saved.restore("--tcp-established").ok()
        saved.pipe.count_on()
        assert saved.pipe.numbers[0] == last + 1


def test_file_locks_are_kept_on_request(box: Box) -> None:
    bundle = box.bundle("/probe", "count", "locked", "/tmp/lock")
    with Saved(box, bundle).run() as saved:
        saved.pipe.count_on()
        saved.checkpoint().failed("criu failed")
        saved.checkpoint("--file-locks").ok()
        saved.restore("--file-locks").ok()
        saved.pipe.count_on()
        saved.container.exec("/probe", "count", "locked", "/tmp/lock").failed(status=1)


@needs("tool criu")
def test_memory_goes_to_a_page_server(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        saved.images.mkdir(mode=0o700)
        server = subprocess.Popen(
            ["criu", "page-server", "--images-dir", saved.images, "--address", "127.0.0.1",
             "--port", "27277", "-o", "server.log", "-v4"],
        )  # fmt: skip
        try:
            wait_until(lambda: _listens(27277), "a page server", PATIENCE_S)
            dumped = box.folder / "dumped"
            there, saved.images = saved.images, dumped
            saved.checkpoint("--page-server", "127.0.0.1:27277").ok()
            assert not list(dumped.glob("pages-*.img"))
            assert server.wait(PATIENCE_S) == 0
        finally:
            server.kill()
            server.wait()
        last = saved.pipe.numbers[-1]
        for image in there.glob("page*.img"):
            image.rename(dumped / image.name)
        saved.restore().ok()
        saved.pipe.count_on()
        assert saved.pipe.numbers[0] == last + 1


@peer_deviates("runc", "leaves a cgroup of the old name behind", sometimes=True)
@needs("tool criu")
def test_lazy_pages_are_served_on_demand(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.pipe.count_on()
        ready, status = os.pipe()
        words = ("--image-path", saved.images, "--lazy-pages", "--page-server", "127.0.0.1:27278",
                 "--status-fd", str(status))  # fmt: skip
        dump, result = box.runtime.spawn(
            "checkpoint", *words, saved.container.id, pass_fds=[status]
        )
        os.close(status)
        try:
            assert os.read(ready, 1) == b"\0", result.story()
            fetcher = subprocess.Popen(
                ["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "27278",
                 "--images-dir", saved.images, "--work-dir", saved.images, "-o", "lazy.log", "-v4"],
            )  # fmt: skip
            try:
                socket = saved.images / "lazy-pages.socket"
                wait_until(socket.exists, "the socket of lazy pages", PATIENCE_S)
                last = saved.pipe.numbers[-1]
                saved.container = box.container(saved.bundle)
                restored = saved.restore("--lazy-pages", "--work-path", saved.images)
                if restored.status:
                    finish(dump, result, PATIENCE_S)
                    # CRIU 4.1 on Linux 6.18, as with runc.
                    skip_where_criu_says("page-pipe: splice: -1: Bad file descriptor", result)
                restored.ok()
                saved.pipe.count_on()
                assert saved.pipe.numbers[0] == last + 1
                finish(dump, result, PATIENCE_S).ok()
                assert fetcher.wait(PATIENCE_S) == 0
            finally:
                fetcher.kill()
                fetcher.wait()
        finally:
            os.close(ready)
            dump.kill()
            dump.wait()


def _listens(port: int) -> bool:
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(line.split()[1].endswith(f":{port:04X}") for line in lines[1:])
