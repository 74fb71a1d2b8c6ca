"""`run` in the foreground and the files around create and run.

Source: docs/runc-compat/cli.md#exit-statuses, docs/runc-compat/cli.md#create-and-run,
docs/runc-compat/protocols.md#foreground-mode.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, finish, wait_until


def spawn(container: Container, *flags: str) -> tuple[subprocess.Popen[bytes], Result]:
    return container.runtime.spawn(
        "run", *flags, "--bundle", container.bundle.path, container.id, bundle=container.bundle
    )


class TestStatus:
    """The exit status of run is the process's."""

    def test_killed_by_a_signal_it_is_128_more(self, box: Box) -> None:
        container = box.container(None, "/probe", "wait")
        process, result = spawn(container)
        wait_until(lambda: "ready" in result.stdout, "ready")
        container.kill("KILL").ok()
        assert finish(process, result).status == 137

    def test_a_crash_is_139(self, box: Box) -> None:
        assert box.container(None, "/probe", "crash").run().status == 139

    def test_a_process_that_forks_is_waited_for_alone(self, box: Box) -> None:
        run = box.container(None, "sh", "-c", "sleep 50 & exit 6").run(timeout=10)
        assert run.status == 6

    def test_an_error_of_the_runtime_is_1(self, box: Box) -> None:
        box.container(None, "/no/such").run().failed(status=1)


class TestSignals:
    """Signals to the runtime are the container's."""

    @pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "CONT"])
    def test_they_are_forwarded(self, box: Box, name: str) -> None:
        number = signal.Signals[f"SIG{name}"]
        container = box.container(None, "/probe", "trap")
        process, result = spawn(container)
        wait_until(lambda: "ready" in result.stdout, "ready")
        process.send_signal(number)
        wait_until(lambda: f"got {number:02}" in result.stdout, f"got {number}")
        process.send_signal(signal.SIGTERM)
        assert finish(process, result).status == 33

    def test_sigchld_and_sigwinch_are_not(self, box: Box) -> None:
        container = box.container(None, "/probe", "trap")
        process, result = spawn(container)
        wait_until(lambda: "ready" in result.stdout, "ready")
        process.send_signal(signal.SIGCHLD)
        process.send_signal(signal.SIGTERM)
        finish(process, result)
        assert "got 17" not in result.stdout

    def test_a_program_that_ends_on_sigterm(self, box: Box) -> None:
        container = box.container(None, "/probe", "wait", "3")
        process, result = spawn(container)
        wait_until(lambda: "ready" in result.stdout, "ready")
        process.terminate()
        assert finish(process, result).status == 3


class TestKeep:
    """--keep leaves the stopped container; without it nothing stays."""

    def test_the_container_is_stopped_and_can_be_deleted(self, box: Box) -> None:
        container = box.container(None, "/probe", "exit", "8")
        assert container.run("--keep").status == 8
        assert container.status == "stopped"
        container.delete().ok()

    def test_the_cgroups_are_gone_afterwards_anyway(self, box: Box) -> None:
        container = box.container(None, "true")
        container.run("--keep").ok()
        container.delete("--force").ok()


class TestPidFile:
    """--pid-file."""

    @pytest.mark.parametrize("verb", ["create", "run"])
    def test_it_has_the_pid_and_no_newline(self, box: Box, verb: str) -> None:
        container = box.container(None, "/probe", "wait")
        place = box.folder / "pid"
        if verb == "create":
            container.create("--pid-file", place).ok()
        else:
            container.run("--detach", "--pid-file", place).ok()
        assert place.read_text() == str(container.pid)

    def test_a_relative_one_is_relative_to_the_caller(self, box: Box) -> None:
        container = box.container()
        container.create("--pid-file", "relative.pid", cwd=box.folder).ok()
        assert (box.folder / "relative.pid").read_text() == str(container.pid)

    def test_a_failed_create_leaves_none(self, box: Box) -> None:
        place = box.folder / "pid"
        box.container(None, "/no/such").create("--pid-file", place).failed()
        assert not place.exists()

    def test_an_older_one_is_replaced(self, box: Box) -> None:
        place = box.folder / "pid"
        place.write_text("123456789 and more")
        container = box.container()
        container.create("--pid-file", place).ok()
        assert place.read_text() == str(container.pid)

    def test_one_that_cannot_be_written_is_an_error_that_leaves_nothing(self, box: Box) -> None:
        container = box.container()
        container.create("--pid-file", "/no/such/folder/pid").failed()
        box.runtime.call("state", container.id).failed("does not exist")

    @peer_deviates("crun", "writes it in place", sometimes=True)
    def test_it_appears_complete(self, box: Box) -> None:
        """Watchers take its existence for success and read it at once."""
        seen: set[str] = set()
        place = box.folder / "pid"
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                try:
                    seen.add(place.read_text())
                except FileNotFoundError:
                    continue

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            pids = set()
            for _ in range(5):
                place.unlink(missing_ok=True)
                container = box.container()
                container.create("--pid-file", place).ok()
                pids.add(str(container.pid))
        finally:
            ended.set()
            thread.join()
        assert seen <= pids

    def test_nothing_else_is_left_beside_it(self, box: Box) -> None:
        folder = box.folder / "pids"
        folder.mkdir()
        box.container().create("--pid-file", folder / "pid").ok()
        assert os.listdir(folder) == ["pid"]


class TestDescriptors:
    """--preserve-fds and LISTEN_FDS."""

    def pipes(self, count: int) -> list[int]:
        return [fd for _ in range(count) for fd in os.pipe()]

    def through_shell(self, container: Container, setup: str, *flags: str) -> Result:
        """Run it below a shell that first rearranges descriptors and environment."""
        call = container.runtime.prepare(
            "run", *flags, "--bundle", container.bundle.path, container.id, bundle=container.bundle
        )
        words = " ".join(f"'{word}'" for word in call.argv)
        done = subprocess.run(
            ["sh", "-c", f"{setup}\nexec {words}"], capture_output=True, timeout=20, check=False
        )
        call.files.with_suffix(".out").write_bytes(done.stdout)
        call.files.with_suffix(".err").write_bytes(done.stderr)
        call.status = done.returncode
        return call

    def test_preserved_ones_arrive(self, box: Box) -> None:
        setup = "exec 3</dev/zero 4</dev/full"
        report = self.through_shell(box.container(), setup, "--preserve-fds", "2").ok().json()
        assert {fd: report["fds"][fd] for fd in ("3", "4")} == {"3": "/dev/zero", "4": "/dev/full"}
        assert set(report["fds"]) == {"0", "1", "2", "3", "4"}

    def test_only_so_many_arrive(self, box: Box) -> None:
        setup = "exec 3</dev/zero 4</dev/full"
        report = self.through_shell(box.container(), setup, "--preserve-fds=1").ok().json()
        assert set(report["fds"]) == {"0", "1", "2", "3"}

    def test_a_closed_one_is_an_error(self, box: Box) -> None:
        # Far enough to be beyond what the runtime itself has open by then.
        call = self.through_shell(box.container(), "", "--preserve-fds", "100")
        call.failed("unable to stat preserved-fd")

    @needs("ours")
    @pytest.mark.parametrize("globals_", [[], ["--debug"]])
    @pytest.mark.parametrize("userns", [False, True])
    def test_gaps_stay_closed(self, box: Box, globals_: list[str], userns: bool) -> None:
        """podman asks for 3 where only the third is open; peers hand their log file in there."""
        container = box.container()
        if userns:
            container.bundle.use_userns((0, 100000, 65536))
        call = container.runtime.prepare(
            "run", "--preserve-fds=4", "-b", container.bundle.path, container.id,
            bundle=container.bundle,
        )  # fmt: skip
        call.argv[1:1] = globals_
        words = " ".join(f"'{word}'" for word in call.argv)
        setup = "exec 3</dev/zero 4<&- 5<&- 6</dev/full"
        done = subprocess.run(
            ["sh", "-c", f"{setup}\nexec {words}"], capture_output=True, timeout=20, check=True
        )
        fds = json.loads(done.stdout)["fds"]
        assert {fd: fds[fd] for fd in ("3", "6")} == {"3": "/dev/zero", "6": "/dev/full"}
        assert set(fds) == {"0", "1", "2", "3", "6"}

    @needs("ours")
    def test_gaps_stay_closed_in_exec(self, box: Box) -> None:
        """As `podman exec --preserve-fd 5` calls it."""
        container = box.running()
        call = container.runtime.prepare("exec", "--preserve-fds", "3", container.id, "/probe")
        words = " ".join(f"'{word}'" for word in call.argv)
        done = subprocess.run(
            ["sh", "-c", f"exec 3<&- 4<&- 5</dev/full\nexec {words}"],
            capture_output=True,
            timeout=20,
            check=True,
        )
        assert set(json.loads(done.stdout)["fds"]) == {"0", "1", "2", "5"}

    @peer_deviates("runc", "keeps the names back")
    @peer_deviates("crun", "hands the caller's LISTEN_PID on")
    def test_listen_fds_come_before_preserved_ones(self, box: Box) -> None:
        setup = "exec 3</dev/zero 4</dev/full; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=a"
        report = self.through_shell(box.container(), setup, "--preserve-fds=1").ok().json()
        assert {fd: report["fds"][fd] for fd in ("3", "4")} == {"3": "/dev/zero", "4": "/dev/full"}
        assert set(report["fds"]) == {"0", "1", "2", "3", "4"}
        names = [entry for entry in report["env"] if entry.startswith("LISTEN_")]
        assert sorted(names) == ["LISTEN_FDNAMES=a", "LISTEN_FDS=1", "LISTEN_PID=1"]

    @needs("ours")
    @pytest.mark.parametrize("names", ["a", "a:b:c", "a:b\n", "a:\u00e4", ""])
    def test_names_that_do_not_fit_are_none(self, box: Box, names: str) -> None:
        setup = "exec 3</dev/zero 4</dev/full; export LISTEN_FDS=2 LISTEN_PID=$$"
        report = (
            self.through_shell(box.container(), f"{setup} LISTEN_FDNAMES='{names}'").ok().json()
        )
        assert not any(entry.startswith("LISTEN_FDNAMES") for entry in report["env"])

    def test_a_closed_listen_fd_is_an_error(self, box: Box) -> None:
        setup = "export LISTEN_FDS=90 LISTEN_PID=$$"
        if box.runtime.name != "ours":
            pytest.xfail("the peers hand in what happens to be open")
        self.through_shell(box.container(), setup).failed("LISTEN_FDS names descriptor")

    @peer_deviates("runc", "1.1 panics on a negative number", sometimes=True)
    @peer_deviates("crun", "fails on some of them", sometimes=True)
    @pytest.mark.parametrize("number", ["x", "-1", "", "1e3"])
    def test_listen_fds_that_are_no_number_are_none(self, box: Box, number: str) -> None:
        setup = f"exec 3</dev/zero; export LISTEN_FDS={number} LISTEN_PID=$$"
        call = self.through_shell(box.container(), setup)
        assert set(call.ok().json()["fds"]) == {"0", "1", "2"}

    def test_they_arrive_through_a_stage_too(self, box: Box) -> None:
        """A process that joins namespaces first stands between caller and container."""
        container = box.container()
        container.bundle.set_namespace("uts", f"/proc/{os.getpid()}/ns/uts")
        container.bundle.set_namespace("network", f"/proc/{os.getpid()}/ns/net")
        setup = "exec 3</dev/zero; export LISTEN_FDS=1 LISTEN_PID=$$"
        report = self.through_shell(container, setup).ok().json()
        assert report["fds"]["3"] == "/dev/zero"

    @needs("userns")
    def test_they_arrive_in_a_user_namespace_too(self, box: Box) -> None:
        container = box.container()
        container.bundle.use_userns((0, 100000, 65536))
        setup = "exec 3</dev/zero 4</dev/full; export LISTEN_FDS=1 LISTEN_PID=$$"
        report = self.through_shell(container, setup, "--preserve-fds=1").ok().json()
        assert {"3", "4"} <= set(report["fds"])

    def test_listen_fds_arrive_with_their_number_and_pid_1(self, box: Box) -> None:
        setup = "exec 3</dev/zero; export LISTEN_FDS=1 LISTEN_PID=$$"
        report = self.through_shell(box.container(), setup).ok().json()
        assert report["fds"]["3"] == "/dev/zero"
        assert {"LISTEN_FDS=1", "LISTEN_PID=1"} <= set(report["env"])

    @peer_deviates("crun", "does not look at LISTEN_PID", sometimes=True)
    def test_listen_fds_of_another_process_do_not(self, box: Box) -> None:
        setup = "exec 3</dev/zero; export LISTEN_FDS=1 LISTEN_PID=1"
        report = self.through_shell(box.container(), setup).ok().json()
        assert set(report["fds"]) == {"0", "1", "2"}
        assert not any(entry.startswith("LISTEN_") for entry in report["env"])


class TestFlags:
    """Flags callers pass that change nothing one can see here."""

    @pytest.mark.parametrize("flag", ["--no-new-keyring", "--no-subreaper"])
    def test_they_are_accepted(self, box: Box, flag: str) -> None:
        box.container(None, "true").run(flag).ok()

    def test_one_dash_is_enough(self, box: Box) -> None:
        box.container(None, "true").run("-no-subreaper").ok()

    def test_a_booleans_value_may_be_given(self, box: Box) -> None:
        box.container(None, "true").run("--detach=false").ok()

    def test_an_unknown_flag_is_an_error(self, box: Box) -> None:
        assert box.container().create("--no-such-flag").status == 1


def test_the_runtimes_death_signal_is_not_the_containers(box: Box) -> None:
    """Callers set PDEATHSIG on the runtime; the container must outlive it."""
    container = box.container(None, "/probe", "wait")
    script: Path = box.folder / "caller"
    container.bundle.save()
    call = container.runtime.prepare("run", "-d", "-b", container.bundle.path, container.id)
    script.write_text(
        "import ctypes, subprocess, sys\n"
        "death = lambda: ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
        f"with open({str(box.folder / 'out')!r}, 'wb') as out:\n"
        f"    sys.exit(subprocess.call({call.argv!r}, preexec_fn=death, stdout=out, stderr=out))\n"
    )
    assert subprocess.run(["python3", script], check=False, timeout=20).returncode == 0
    wait_until(lambda: "ready" in (box.folder / "out").read_text(), "ready")
    assert container.status == "running"
