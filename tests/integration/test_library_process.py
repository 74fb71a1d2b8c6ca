"""`ocirun.run` and `ocirun.Container` in the shape of subprocess: streams, waiting, exec.

Source: docs/library.md; https://docs.python.org/3.11/library/subprocess.html.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from harness.box import Box
from harness.leaks import descendants, open_fds
from harness.machine import MARK
from harness.needs import needs

import ocirun
from ocirun import DEVNULL, PIPE, STDOUT

pytestmark = needs("root", "ours")


class Library:
    """The library, with the box's state root and a root file system."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.root = str(box.runtime.root)
        self.rootfs = str(box.bundle().rootfs)
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"{MARK}-{self.box.folder.name}-l{self.count}"

    def spec(self, *args: str, **settings: Any) -> ocirun.Spec:  # noqa: ANN401
        return ocirun.Spec(args, self.rootfs, **settings)

    def run(self, *args: str, **how: Any) -> ocirun.CompletedContainer:  # noqa: ANN401
        how.setdefault("container_id", self.name())
        return ocirun.run(args, rootfs=self.rootfs, root=self.root, **how)

    def start(self, *args: str, **how: Any) -> ocirun.Container:  # noqa: ANN401
        return ocirun.Container.run(self.name(), self.spec(*args), root=self.root, **how)


@pytest.fixture
def lib(box: Box) -> Generator[Library, None, None]:
    """The library; nothing of it is left when the test ends, not even a zombie."""
    before, children = set(open_fds()), set(descendants())
    yield Library(box)
    assert set(open_fds()) == before
    assert set(descendants()) <= children


class TestRun:
    def test_output_and_status(self, lib: Library) -> None:
        done = lib.run("sh", "-c", "cat; echo no >&2; exit 3", input=b"yes\n", capture_output=True)
        assert done.args == ["sh", "-c", "cat; echo no >&2; exit 3"]
        assert (done.returncode, done.stdout, done.stderr) == (3, b"yes\n", b"no\n")
        with pytest.raises(ocirun.CalledProcessError, match="has status 3") as raised:
            done.check_returncode()
        assert (raised.value.stdout, raised.value.stderr) == (b"yes\n", b"no\n")

    def test_a_failure_while_init_is_cloned_leaves_nothing(self, lib: Library) -> None:
        config = lib.spec("true").build()
        config["linux"]["cgroupsPath"] = "/cgroup.procs/below-a-file"
        for _ in range(3):
            with pytest.raises(ocirun.SetupError, match="not a directory"):
                ocirun.run(config=config, root=lib.root, container_id=lib.name())

    def test_a_signal_is_a_negative_status(self, lib: Library) -> None:
        # The init of a pid namespace is not ended by its own signals.
        assert lib.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?").returncode == 137
        with lib.start("sleep", "1000") as container:
            container.kill()
            assert container.wait(60) == -signal.SIGKILL

    def test_text_mode_is_utf_8(self, lib: Library) -> None:
        done = lib.run("cat", input="grün\r\n", capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("grün\n", "")
        assert lib.run("cat", input="é", stdout=PIPE, encoding="latin-1").stdout == "é"

    def test_check_raises_for_a_failure(self, lib: Library) -> None:
        with pytest.raises(ocirun.CalledProcessError) as raised:
            lib.run("false", check=True)
        assert raised.value.returncode == 1
        assert lib.run("true", check=True).returncode == 0

    def test_errors_with_the_output(self, lib: Library) -> None:
        done = lib.run("sh", "-c", "echo a; echo b >&2", stdout=PIPE, stderr=STDOUT)
        assert (done.stdout, done.stderr) == (b"a\nb\n", None)

    def test_nothing_to_read_and_nowhere_to_write(self, lib: Library) -> None:
        done = lib.run("sh", "-c", "echo a; wc -c >&2", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
        assert (done.stdout, done.stderr.strip()) == (None, b"0")

    def test_files_of_the_caller(self, lib: Library) -> None:
        (lib.box.folder / "in").write_text("into\n")
        with open(lib.box.folder / "in") as source, open(lib.box.folder / "out", "w") as target:
            lib.run("cat", stdin=source, stdout=target.fileno(), check=True)
            assert not source.closed
        assert (lib.box.folder / "out").read_text() == "into\n"

    def test_constants_of_subprocess(self, lib: Library) -> None:
        done = lib.run("echo", "a", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.stdout == b"a\n"

    def test_more_than_a_pipe_holds_both_ways(self, lib: Library) -> None:
        data = os.urandom(1 << 20)
        assert lib.run("cat", input=data, capture_output=True).stdout == data

    def test_a_program_that_does_not_read(self, lib: Library) -> None:
        assert lib.run("true", input=bytes(1 << 20)).returncode == 0

    def test_a_timeout_kills_and_keeps_the_output(self, lib: Library) -> None:
        begin = time.monotonic()
        with pytest.raises(ocirun.TimeoutExpired, match=r"timed out after 1\.5 seconds") as raised:
            lib.run("sh", "-c", "echo here; sleep 1000", capture_output=True, timeout=1.5)
        assert time.monotonic() - begin < 60
        assert (raised.value.stdout, raised.value.stderr) == (b"here\n", None)
        assert raised.value.cmd == ["sh", "-c", "echo here; sleep 1000"]
        assert ocirun.Container.list(root=lib.root) == []

    def test_a_dict_is_not_changed(self, lib: Library) -> None:
        config = lib.spec("true").build()
        config["linux"]["seccomp"] = None
        before = repr(config)
        assert ocirun.run(["false"], config=config, root=lib.root).returncode == 1
        assert ocirun.run(config=config, root=lib.root).returncode == 0
        assert repr(config) == before

    def test_in_a_user_namespace_stdout_can_be_opened_again(self, lib: Library) -> None:
        bundle = lib.box.bundle("sh", "-c", "echo a > /proc/self/fd/1", user={"uid": 7, "gid": 7})
        bundle.use_userns((0, 100000, 65536))
        bundle.save()
        done = ocirun.run(config=bundle.path, root=lib.root, capture_output=True)
        assert (done.stdout, done.stderr) == (b"a\n", b"")


class TestContainer:
    def test_a_program_answers_while_it_runs(self, lib: Library) -> None:
        with lib.start("cat", stdin=PIPE, stdout=PIPE) as container:
            assert container.stdin is not None
            assert container.stdout is not None
            container.stdin.write(b"one\n")
            container.stdin.flush()
            assert container.stdout.readline() == b"one\n"
            assert container.poll() is None
            assert container.returncode is None
            container.stdin.close()
            assert container.wait(60) == 0
            assert (container.poll(), container.returncode, container.status) == (0, 0, "stopped")

    def test_communicate_goes_on_after_a_timeout(self, lib: Library) -> None:
        with lib.start("sh", "-c", "echo a; sleep 3; cat", stdin=PIPE, stdout=PIPE) as container:
            with pytest.raises(ocirun.TimeoutExpired):
                container.communicate(b"b\n", timeout=0.2)
            assert container.communicate(timeout=60) == (b"a\nb\n", None)
            assert container.returncode == 0

    def test_many_threads_wait(self, lib: Library) -> None:
        found: list[int] = []
        with lib.start("sleep", "1000") as container:
            waiters = [
                threading.Thread(target=lambda: found.append(container.wait())) for _ in range(8)
            ]
            for waiter in waiters:
                waiter.start()
            time.sleep(0.2)
            container.kill()
            for waiter in waiters:
                waiter.join(60)
        assert found == [-9] * 8

    def test_the_same_container_twice(self, lib: Library) -> None:
        with lib.start("sleep", "1000") as container:
            again = ocirun.Container(container.id, root=lib.root)
            assert again == container
            assert len({again, container}) == 1
            assert again != ocirun.Container(container.id, root=f"{lib.root}/other")
            assert ocirun.Container.list(root=lib.root) == [container]
            with pytest.raises(ocirun.TimeoutExpired):
                again.wait(0.1)
            container.kill()
            assert (again.wait(60), container.wait(60)) == (-9, -9)

    def test_the_end_of_a_with_block_deletes(self, lib: Library) -> None:
        with pytest.raises(RuntimeError, match="ours"), lib.start("sleep", "1000"):
            raise RuntimeError("ours")
        with lib.start("true") as container:
            container.delete(force=True)
        assert ocirun.Container.list(root=lib.root) == []

    def test_nothing_is_said_about_one_that_has_ended(self, lib: Library) -> None:
        with lib.start("true") as container:
            container.wait(60)
            container.terminate()
            container.kill()
            container.send_signal("HUP")

    def test_a_terminal_is_written_and_read(self, lib: Library) -> None:
        with lib.start("sh", "-c", "tty; read a; echo $a", terminal=True) as container:
            assert container.terminal is not None
            assert b"/dev/pts/0" in container.terminal.read(100)
            container.terminal.write(b"hello\n")
            assert container.wait(60) == 0

    def test_an_id_is_made_up(self, lib: Library) -> None:
        with ocirun.Container.create(None, lib.spec("true"), root=lib.root) as container:
            assert container.id.startswith("ocirun-")
            container.start()
            assert container.wait(60) == 0


class TestExec:
    def test_as_another_user_elsewhere(self, lib: Library) -> None:
        with lib.start("sleep", "1000") as container:
            words = ["sh", "-c", "echo $A; pwd; id -u; id -g"]
            started = container.exec(
                words, user="7:8", env={"A": "b"}, cwd="/tmp", capture_output=True, text=True
            )
            assert started.args == words
            assert started.communicate() == ("b\n/tmp\n7\n8\n", "")
            assert started.returncode == 0

    def test_it_is_killed_like_any_process(self, lib: Library) -> None:
        with lib.start("sleep", "1000") as container:
            with container.exec(["sleep", "1000"]) as started:
                with pytest.raises(ocirun.TimeoutExpired):
                    started.wait(0.1)
                started.terminate()
                assert started.wait(60) == -signal.SIGTERM
            with pytest.raises(RuntimeError), container.exec(["sleep", "1000"]) as started:
                raise RuntimeError
            assert started.returncode == -signal.SIGKILL

    def test_input_and_a_terminal(self, lib: Library) -> None:
        with lib.start("sleep", "1000") as container:
            started = container.exec(["cat"], stdin=PIPE, stdout=PIPE)
            assert started.communicate(b"in") == (b"in", None)
            with container.exec(["tty"], terminal=True) as started:
                assert started.terminal is not None
                assert b"/dev/pts/" in started.terminal.read(100)

    def test_a_forgotten_one_is_reaped(self, lib: Library) -> None:
        with lib.start("sleep", "1000") as container:
            container.exec(["true"])
            time.sleep(0.5)
            with container.exec(["true"]) as other:
                assert set(descendants()) & {other.pid} or other.poll() == 0
            zombies = [pid for pid in descendants() if " Z " in _stat(pid)]
            assert zombies == []


def _stat(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read()


def test_a_timeout_may_be_infinite_or_very_long(lib: Library) -> None:
    endless = float("inf")
    done = lib.run("sh", "-c", "sleep 0.1; echo a", timeout=1e12, capture_output=True)
    assert done.stdout == b"a\n"
    assert lib.run("sh", "-c", "sleep 0.1; exit 7", timeout=endless).returncode == 7
    with lib.start("sh", "-c", "sleep 0.1; exit 8") as container:
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            container.wait(float("nan"))
        with pytest.raises(ValueError, match="interval must be a number of seconds"):
            container.events(float("nan"))
        container.events(endless).close()
        assert container.wait(endless) == 8


class TestRefused:
    """What is wrong is named, and nothing is left: the fixture looks."""

    @pytest.mark.parametrize(
        ("how", "kind", "words"),
        [
            ({"stdin": "x"}, TypeError, "stdin must be PIPE, DEVNULL, a descriptor or a file"),
            ({"stdout": STDOUT}, ValueError, "stdout cannot be STDOUT"),
            ({"stderr": 12345}, ValueError, "stderr is descriptor 12345, which is not open"),
            ({"stdin": -7}, ValueError, "stdin must not be -7"),
            ({"stdin": PIPE, "input": b""}, ValueError, "stdin and input"),
            ({"stdout": PIPE, "capture_output": True}, ValueError, "capture_output"),
            ({"input": "text", "stdout": PIPE}, TypeError, "input must be bytes"),
            ({"input": b"bytes", "text": True, "stdout": PIPE}, TypeError, "input must be a str"),
            ({"timeout": "1"}, TypeError, "timeout must be a number"),
            ({"timeout": -1}, ValueError, "timeout must not be negative"),
            ({"timeout": float("nan")}, ValueError, "timeout must be a number of seconds"),
            ({"env": {"A": "\ud800"}}, ocirun.SpecError, "is no JSON"),
            ({"encoding": "utf-77"}, ValueError, "utf-77"),
            ({"container_id": 7}, TypeError, "id must be a str"),
            ({"container_id": "a/b"}, ocirun.UsageError, "invalid container ID"),
            ({"memory": "much"}, ValueError, "memory must be a number of bytes"),
            ({"pids": 0}, ValueError, "pids must be at least 1"),
            ({"cpus": "1"}, TypeError, "cpus must be a number"),
            ({"network": "bridge"}, ValueError, "network must be"),
            ({"env": ["A=b"]}, TypeError, "env must be a mapping"),
            ({"env": {"A=": "b"}}, ValueError, "no name of a variable"),
            ({"user": "nobody"}, ValueError, "user must be a number"),
            ({"cwd": "tmp"}, ValueError, "cwd must be an absolute path"),
            ({"mounts": [("/a",)]}, TypeError, "a mount must be"),
            ({"capabilities": ["NO_SUCH"]}, ValueError, "CAP_NO_SUCH, which Linux does not know"),
            ({"colour": "red"}, TypeError, "colour"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_wrong_arguments_of_run_are_named(
        self, lib: Library, how: dict[str, Any], kind: type[Exception], words: str
    ) -> None:
        with pytest.raises(kind, match=words):
            lib.run("true", **how)

    def test_words_are_a_list(self, lib: Library) -> None:
        for act in (
            lambda: ocirun.run("id", rootfs=lib.rootfs, root=lib.root),
            lambda: ocirun.Container("x", root=lib.root).exec("id"),
            lambda: ocirun.Spec("id"),
        ):
            with pytest.raises((TypeError, ocirun.ContainerNotFound)) as raised:
                act()
            assert raised.type is TypeError
            assert "must be a list of strings, not 'id'" in str(raised.value)
        with pytest.raises(ValueError, match="must not be empty"):
            lib.run()
        with pytest.raises(TypeError, match="needs args and rootfs, or config"):
            ocirun.run(["id"])
        with pytest.raises(TypeError, match="not both"):
            ocirun.run(["id"], rootfs="/", config={})

    def test_a_configuration_is_checked_like_a_file(self, lib: Library) -> None:
        with pytest.raises(ocirun.SpecError, match="config: /process/args"):
            ocirun.run(config={**lib.spec("true").build(), "process": {"args": 1}}, root=lib.root)
        with pytest.raises(ocirun.SpecError, match="is no JSON"):
            ocirun.run(config={"ociVersion": object()}, root=lib.root)
        with pytest.raises(TypeError, match="a directory, a Spec or a dict, not int"):
            ocirun.run(config=7, root=lib.root)  # type: ignore[arg-type]
        with pytest.raises(ocirun.SetupError, match="no such file"):
            ocirun.run(config="/no/such/bundle", root=lib.root)
        with pytest.raises(ocirun.SpecError, match="no such file or directory"):
            ocirun.run(["true"], rootfs="/no/such/root", root=lib.root)

    def test_a_program_that_is_not_there(self, lib: Library) -> None:
        with pytest.raises(ocirun.InitError, match="/no/such"):
            lib.run("/no/such", input=b"x", capture_output=True)
        with lib.start("sleep", "1000") as container:
            with pytest.raises(ocirun.SetupError, match="/no/such"):
                container.exec(["/no/such"], stdin=PIPE, capture_output=True)
            with pytest.raises(ocirun.SetupError, match="/no/such"):
                container.exec(["/no/such"], terminal=True)

    def test_a_hook_that_fails(self, lib: Library) -> None:
        config = lib.spec("true").build()
        config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
        with pytest.raises(ocirun.OcirunError, match="startContainer"):
            ocirun.run(config=config, root=lib.root, capture_output=True)

    def test_an_interrupt_while_it_runs(self, lib: Library) -> None:
        main = threading.get_ident()
        timer = threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            lib.run("sleep", "1000", capture_output=True)
        timer.join()
        assert ocirun.Container.list(root=lib.root) == []
