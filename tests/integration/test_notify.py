"""NOTIFY_SOCKET: a service manager of the host hears when the container is ready, and no more.

Source: sd_notify(3), sd_notify_barrier(3); docs/runc-compat/cli.md#start,
docs/runc-compat/protocols.md#notify_socket, docs/runc-compat/state.md#files; docs/notify.md.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.manager import Manager
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until
from harness.user import Home

pytestmark = needs("root")

crun_keeps_the_path = peer_deviates("crun", "has the host's path inside and no socket folder")


def speaker(box: Box, *words: str, **process: object) -> Container:
    return box.container(box.bundle("/probe", "notify", *words, **process))


@pytest.fixture
def manager(box: Box) -> Manager:
    return Manager(box.folder / "host.sock")


class TestInside:
    """What the container finds."""

    @crun_keeps_the_path
    def test_a_variable_and_a_mount(self, box: Box, manager: Manager) -> None:
        container = box.container()
        with manager:
            container.create(env=manager.environment).ok()
            container.start().ok()
            container.wait_status("stopped")
        report = container._first.json()  # type: ignore[union-attr]  # created
        assert "NOTIFY_SOCKET=/run/notify/notify.sock" in report["env"]
        assert str(manager.address) not in str(report)
        (mount,) = [line for line in report["mountinfo"] if " /run/notify " in line]
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.split()[5].split(","))

    def test_nothing_without_the_variable(self, box: Box) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        container = box.container()
        report = container.run(env=environment).ok().json()
        assert not [entry for entry in report["env"] if entry.startswith("NOTIFY")]
        assert not [line for line in report["mountinfo"] if "/run/notify" in line]
        assert not (container.bundle.rootfs / "run/notify").exists()

    @needs("ours")
    def test_a_process_of_exec_has_none(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "READY=1", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            container.start(env=manager.environment).ok()
            report = container.exec("/probe", env=manager.environment).ok().json()
        assert not [entry for entry in report["env"] if entry.startswith("NOTIFY")]

    @needs("ours")
    def test_the_folder_is_open_to_all_and_the_record_is_not(
        self, box: Box, manager: Manager
    ) -> None:
        container = speaker(box, "sleep:200")
        with manager:
            previous = os.umask(0o077)
            container.create(env=manager.environment).ok()
            os.umask(previous)
        folder = box.runtime.root / container.id
        assert (folder / "notify").stat().st_mode & 0o777 == 0o755
        assert folder.stat().st_mode & 0o077 == 0

    def test_a_link_of_the_image_leads_nowhere(self, box: Box, manager: Manager) -> None:
        outside = box.folder / "outside"
        outside.mkdir()
        container = speaker(box, "READY=1")
        (container.bundle.rootfs / "run").mkdir()
        (container.bundle.rootfs / "run/notify").symlink_to(f"/../../..{outside}")
        with manager:
            container.run(env=manager.environment)
        assert list(outside.iterdir()) == []
        assert not os.path.ismount(outside)

    @needs("ours")
    @pytest.mark.parametrize("address", ["relative", "@", "vsock:2:5", "-"])
    def test_an_address_that_is_none_is_refused(self, box: Box, address: str) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": address}
        box.container().create(env=environment).failed("NOTIFY_SOCKET")

    @needs("ours")
    def test_without_a_mount_namespace_it_is_refused(self, box: Box, manager: Manager) -> None:
        container = box.container(None, "true")
        container.bundle.drop_namespace("mount")
        del container.bundle.config["mounts"]
        with manager:
            container.create(env=manager.environment).failed("mount namespace")


@crun_keeps_the_path
class TestReady:
    """READY=1 comes through, then the pid to watch, then a barrier."""

    def check(self, manager: Manager, main_pid: int, sender: int | None = None) -> None:
        assert manager.told == ["READY=1", f"MAINPID={main_pid}"]
        if sender:
            assert {message.pid for message in manager.messages} == {sender}

    def test_create_and_start(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "sleep:300", "READY=1", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            assert manager.texts == []
            process, result = box.runtime.spawn("start", container.id, env=manager.environment)
            finish(process, result).ok()
            assert "said READY=1 0" in container.output
            self.check(manager, container.pid, process.pid)

    def test_run_detached_relays_ready_with_inits_pid(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "sleep:300", "READY=1", "stay")
        with manager:
            container.run("--detach", env=manager.environment).ok()
            self.check(manager, container.pid)

    def test_run_in_the_foreground_is_watched_itself(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "sleep:300", "READY=1", "stay")
        with manager:
            process, result = box.runtime.spawn(
                *("run", "--bundle", container.bundle.path, container.id),
                bundle=container.bundle,
                env=manager.environment,
            )
            wait_until(lambda: len(manager.told) == 2, "two messages")
            self.check(manager, process.pid, process.pid)
            container.kill("KILL").ok()
            finish(process, result).failed(status=137)

    def test_an_abstract_socket(self, box: Box) -> None:
        container = speaker(box, "READY=1", "stay")
        with Manager(f"@{container.id}") as manager:
            container.run("--detach", env=manager.environment).ok()
            self.check(manager, container.pid)

    @peer_deviates("runc", "cannot connect to it")
    def test_a_long_path(self, box: Box) -> None:
        folder = box.folder / ("long" * 30)
        folder.mkdir()
        container = speaker(box, "READY=1", "stay")
        with Manager(folder / "host.sock") as manager:
            container.run("--detach", env=manager.environment).ok()
            self.check(manager, container.pid)

    @pytest.mark.parametrize(
        "umask", [0o022, pytest.param(0o077, marks=peer_deviates("runc", "closes its folder too"))]
    )
    def test_a_user_of_the_container(self, box: Box, manager: Manager, umask: int) -> None:
        container = speaker(box, "READY=1", "stay", user={"uid": 1000, "gid": 1000})
        with manager:
            container.run("--detach", env=manager.environment, umask=umask, timeout=8).ok()
            self.check(manager, container.pid)

    @needs("userns")
    def test_a_user_namespace(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "READY=1", "stay", user={"uid": 7, "gid": 7})
        container.bundle.use_userns((0, 100000, 65536))
        with manager:
            container.run("--detach", env=manager.environment).ok()
            self.check(manager, container.pid)

    @peer_deviates("runc", "1.1 has no barrier")
    def test_it_is_waited_for_the_barrier(self, box: Box) -> None:
        container = speaker(box, "READY=1", "stay")
        with Manager(box.folder / "host.sock", slow=0.5) as manager:
            container.run("--detach", env=manager.environment).ok()
            assert not manager.barrier_open
            self.check(manager, container.pid)
        assert manager.texts[2:] == ["BARRIER=1"]
        assert [message.fds for message in manager.messages] == [0, 0, 1]

    @peer_deviates("runc", "1.1 looks at the first line only")
    def test_ready_among_other_lines(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "STATUS=up\nREADY=1\nMAINPID=1", "stay")
        with manager:
            container.run("--detach", env=manager.environment, timeout=8).ok()
            self.check(manager, container.pid)


@crun_keeps_the_path
class TestNotReady:
    """Nobody waits for what does not come."""

    @peer_deviates("runc", "1.1 waits for good")
    def test_a_program_that_ends_before(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "sleep:200", "exit:3")
        with manager:
            container.create(env=manager.environment).ok()
            container.start(env=manager.environment, timeout=8).ok()
            assert manager.texts == []

    @peer_deviates("runc", "1.1 waits for good")
    def test_the_exit_status_in_the_foreground(self, box: Box, manager: Manager) -> None:
        with manager:
            assert speaker(box, "exit:3").run(env=manager.environment, timeout=8).status == 3

    @peer_deviates("runc", "may not see it any more", sometimes=True)
    def test_a_program_that_says_it_and_ends(self, box: Box, manager: Manager) -> None:
        with manager:
            for _ in range(5):
                speaker(box, "READY=1", "exit:0").run(env=manager.environment).ok()
            assert manager.told.count("READY=1") == 5

    def test_start_without_the_variable_waits_for_nothing(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "READY=1", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            container.start().ok()
            container.wait_output("said READY=1 ")
            assert manager.texts == []

    @needs("ours")
    def test_create_without_it_has_nothing_to_wait_for(self, box: Box, manager: Manager) -> None:
        container = box.created(None, "/probe", "wait")
        with manager:
            container.start(env=manager.environment, timeout=10).ok()
        assert container.status == "running"

    @needs("ours")
    def test_a_manager_that_is_not_there_is_a_warning(self, box: Box) -> None:
        container = speaker(box, "READY=1", "stay")
        environment = {**os.environ, "NOTIFY_SOCKET": "/no/such/socket"}
        container.create(env=environment).ok()
        result = container.start(env=environment).ok()
        assert [line["level"] for line in result.log_lines] == ["warning"]
        assert "NOTIFY_SOCKET=/no/such/socket: no such file" in result.log_lines[0]["msg"]
        assert container.status == "running"

    @needs("ours")
    def test_a_start_that_was_killed_is_no_obstacle(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "READY=1", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            with Manager(box.runtime.root / container.id / "notify/notify.sock", deaf=True):
                pass  # which leaves its file behind
            container.start(env=manager.environment).ok()
            assert manager.texts[-1] == "BARRIER=1"

    @needs("ours")
    def test_one_start_listens_and_another_does_not_disturb_it(
        self, box: Box, manager: Manager
    ) -> None:
        container = speaker(box, "sleep:1000", "READY=1", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            process, result = box.runtime.spawn("start", container.id, env=manager.environment)
            folder = box.runtime.root / container.id / "notify"
            wait_until((folder / "notify.sock").exists, "a socket")
            container.start(env=manager.environment).failed()
            assert (folder / "notify.sock").exists()
            finish(process, result).ok()
            assert manager.texts[-1] == "BARRIER=1"

    @pytest.mark.parametrize("detach", [["--detach"], []])
    def test_run_goes_on_when_the_manager_is_not_there(self, box: Box, detach: list[str]) -> None:
        environment = {**os.environ, "NOTIFY_SOCKET": "/no/such/socket"}
        container = box.container(None, "true")
        container.run(*detach, env=environment, timeout=10).ok()

    @peer_deviates("runc", "1.1 waits for good")
    def test_a_program_that_cannot_be_executed(self, box: Box, manager: Manager) -> None:
        container = box.container(None, "/bin/garbage")
        script = container.bundle.rootfs / "bin/garbage"
        script.write_bytes(b"\x7fELF garbage")
        script.chmod(0o755)
        with manager:
            container.run("--detach", env=manager.environment, timeout=8)
        assert manager.texts == []


@crun_keeps_the_path
class TestHostile:
    """The container says what it likes; the host hears one thing."""

    @peer_deviates("runc", "1.1 relays READY=0 too")
    def test_nothing_else_is_relayed(self, box: Box, manager: Manager) -> None:
        lies = (
            "MAINPID=1", "STATUS=fine", "ERRNO=5", "STOPPING=1", "WATCHDOG=trigger", "FDSTORE=1",
            "EXTEND_TIMEOUT_USEC=99999999", "BUSERROR=x", "READY=0", "XREADY=1", " READY=1", "",
            "NOTIFYACCESS=all",
        )  # fmt: skip
        container = speaker(box, *lies, "READY=1\nMAINPID=1", "stay")
        with manager:
            container.run("--detach", env=manager.environment).ok()
            pid = container.pid
        assert manager.texts == ["READY=1", f"MAINPID={pid}", "BARRIER=1"]

    @needs("ours")
    def test_descriptors_are_not_taken(self, box: Box, manager: Manager) -> None:
        container = speaker(box, *["fds:200"] * 20, "sleep:500", "stay")
        with manager:
            container.create(env=manager.environment).ok()
            process, result = box.runtime.spawn("start", container.id, env=manager.environment)
            wait_until(lambda: container.output.count("said fds:200 0") == 20, "20 sent")
            folder = Path(f"/proc/{process.pid}/fd")
            wait_until(lambda: "start.fifo" not in str(list(folder.iterdir())), "a gate behind it")
            roots = [fd for fd in folder.iterdir() if os.readlink(fd) == "/"]
            assert roots == []
            assert len(list(folder.iterdir())) < 16
            container.kill("KILL").ok()
            finish(process, result).ok()

    def test_a_flood_does_not_hold_back_the_word(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "flood:20000", "READY=1", "stay")
        with manager:
            container.run("--detach", env=manager.environment).ok()
            assert manager.told[0] == "READY=1"

    @peer_deviates("runc", "reads its beginning only", sometimes=True)
    def test_a_huge_message_is_not_believed(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "huge:100000", "huge:4096", "exit:0")
        with manager:
            container.run(env=manager.environment).ok()
        assert "said huge:100000 0" in container.output
        assert manager.texts == []

    @needs("ours")
    def test_afterwards_nobody_listens_and_nobody_hangs(self, box: Box, manager: Manager) -> None:
        container = speaker(box, "READY=1", "sleep:500", "flood:1000", "stay")
        with manager:
            container.run("--detach", env=manager.environment).ok()
            container.wait_output("said flood:1000")
        assert "said flood:1000 2\n" in container.output  # ENOENT

    @needs("ours")
    def test_what_it_leaves_in_the_folder_goes_with_it(self, box: Box, manager: Manager) -> None:
        """As root of the host it may remount; delete must not follow what it made."""
        outside = box.folder / "outside"
        outside.mkdir()
        (outside / "file").write_text("kept")
        script = (
            "mount -o remount,rw,bind /run/notify && cd /run/notify && "
            f"ln -s {outside} link && mkdir -p a/b/c && ln -s {outside} a/b/c/link"
        )
        bundle = box.bundle("sh", "-c", script)
        every = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
        bundle.process["capabilities"] = dict.fromkeys(
            ("bounding", "effective", "permitted"), every
        )
        container = box.container(bundle)
        with manager:
            container.create(env=manager.environment).ok()
            container.start(env=manager.environment).ok()
            container.wait_status("stopped")
        assert (box.runtime.root / container.id / "notify/a/b/c").is_dir(), container.errors
        container.delete().ok()
        assert (outside / "file").read_text() == "kept"


@needs("ours", "userns")
def test_an_ordinary_user(box: Box) -> None:
    home = Home(box)
    container = box.container(home.bundle("/probe", "notify", "READY=1", "stay"))
    with Manager(box.folder / "host.sock") as manager:
        os.chmod(box.folder, 0o755)
        keys = home.keys
        keys["env"] = {**keys["env"], "NOTIFY_SOCKET": manager.address}
        container.run("--detach", **keys).ok()
        pid = int((box.runtime.root / container.id / "state.json").read_text().split(
            '"init_process_pid":')[1].split(",")[0])  # fmt: skip
        assert manager.texts == ["READY=1", f"MAINPID={pid}", "BARRIER=1"]


@needs("ours")
def test_command_and_library_relay_ready(each_way: Box) -> None:
    """The library is told explicitly; its caller waits in `start`."""
    container = speaker(each_way, "READY=1", "stay")
    with Manager(each_way.folder / "host.sock") as manager:
        container.create(env=manager.environment).ok()
        container.start(env=manager.environment).ok()
        assert manager.texts == ["READY=1", f"MAINPID={container.pid}", "BARRIER=1"]


@needs("ours")
def test_a_manager_that_does_not_answer_is_waited_for_so_long(box: Box) -> None:
    """Shortened: with the queue full, the first message finds no room and the caller dies."""
    container = speaker(box, "READY=1", "stay")
    with Manager(box.folder / "host.sock", deaf=True) as manager:
        container.create(env=manager.environment).ok()
        process, _ = box.runtime.spawn("start", container.id, env=manager.environment)
        container.wait_output("said READY=1 0")
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert container.status == "running"
