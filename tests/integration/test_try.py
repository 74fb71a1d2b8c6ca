"""`ocirun try`: a command in a container that leaves nothing behind.

Source: docs/try.md; kernel Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path

import pexpect
import pytest
from harness import peers
from harness.box import Box
from harness.guarded import guard_machine, tree_of
from harness.machine import libc_call
from harness.needs import needs
from harness.runtime import Result, finish, wait_until
from harness.user import Home, User

pytestmark = needs("ours", "root")

PLACES = ("/", "/etc", "/usr", "/usr/bin", "/var/lib", "/root", "/home", "/tmp", "/run", "/opt")


@pytest.fixture
def image(box: Box) -> Path:
    """A root directory with busybox, a file to change, and a link and a file at its top."""
    root = box.folder / "image"
    for name in ("bin", "data", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(box.bundle().rootfs / "bin" / "busybox", root / "bin" / "busybox")
    for name in (
        "sh",
        "cat",
        "ls",
        "id",
        "mkdir",
        "rm",
        "rmdir",
        "mv",
        "mknod",
        "stat",
        "sleep",
        "dd",
    ):
        (root / "bin" / name).symlink_to("busybox")
    (root / "data" / "file").write_text("of the image\n")
    (root / "sbin").symlink_to("bin")
    (root / "top").write_text("at the top\n")
    return root


def attempt(box: Box, *words: str | Path, **keys: object) -> Result:
    """Call `try` where this machine cannot be written to, or as an ordinary user."""
    if not box.runtime.owner:
        keys.setdefault("preexec_fn", partial(guard_machine, box.folder))
    return box.runtime.call("try", *words, **keys)


class TestOverThisMachine:
    """No --root: the file system of this machine is what the command sees."""

    def test_system_calls_are_filtered_unless_we_say_otherwise(self, box: Box) -> None:
        shown = ("grep", "^Seccomp:", "/proc/self/status")
        assert attempt(box, "--", *shown).ok().stdout == "Seccomp:\t2\n"
        assert attempt(box, "--no-seccomp", "--", *shown).ok().stdout == "Seccomp:\t0\n"
        attempt(box, "--", "unshare", "-U", "true").failed("Operation not permitted")

    def test_a_command_runs_and_its_status_is_ours(self, box: Box) -> None:
        done = attempt(box, "--", "sh", "-c", "echo $$ $(id -u) $(hostname); exit 7")
        assert (done.status, done.stdout) == (7, "1 0 try\n")

    def test_nothing_of_the_host_is_written(self, box: Box) -> None:
        script = "".join(f"echo x > {place}/ocirun-canary; " for place in PLACES)
        listing = " ".join(f"{place}/ocirun-canary" for place in PLACES)
        done = attempt(box, "--", "sh", "-c", f"{script} cat {listing}").ok()
        assert done.stdout == "x\n" * len(PLACES)
        assert [p for p in PLACES if Path(p, "ocirun-canary").exists()] == []

    def test_files_of_the_host_change_and_vanish_in_the_container_only(self, box: Box) -> None:
        before = Path("/etc/passwd").read_bytes()
        script = "echo > /etc/group; rm /etc/passwd /usr/bin/env; ls /etc/passwd /usr/bin/env"
        done = attempt(box, "--diff", "--", "sh", "-c", script)
        assert done.stdout == "C /etc/group\nD /etc/passwd\nD /usr/bin/env\n"
        assert Path("/etc/passwd").read_bytes() == before
        assert Path("/usr/bin/env").exists()

    def test_homes_and_data_are_not_shown(self, box: Box) -> None:
        script = "ls -A /root /home /mnt /srv /opt /run /tmp /var/log; test ! -e /boot"
        shown = attempt(box, "--", "sh", "-c", script).ok().stdout.split()
        assert [word for word in shown if not word.endswith(":")] == []

    def test_what_not_everybody_may_read_is_not_shown(self, box: Box) -> None:
        script = "cd /usr/local/etc/canary; cat secret open; ls closed"
        files = "secret open socket fifo closed"
        words = ("--", "sh", "-c", f"{script}; stat -c %F {files}")
        prepare = partial(lay_canaries, box.folder)
        done = attempt(box, *words, preexec_fn=prepare, close_fds=False).ok()
        null = "character special file"
        assert done.stdout.splitlines() == ["open", null, "regular file", null, "fifo", "directory"]

    def test_a_device_node_of_the_host_cannot_be_opened(self, box: Box) -> None:
        prepare = partial(lay_canaries, box.folder)
        done = attempt(box, "--", "cat", "/usr/local/etc/canary/null", preexec_fn=prepare)
        done.failed()
        assert "Permission denied" in done.stderr

    def test_processes_networks_and_devices_are_its_own(self, box: Box) -> None:
        script = "ls /proc | grep -c '^[0-9]'; ls /sys/class/net; ls /dev/vda /dev/sda /dev/kmsg"
        done = attempt(box, "--", "sh", "-c", script)
        count, *networks = done.stdout.split()
        assert int(count) <= 4
        assert "eth0" not in networks
        assert "lo" in networks

    def test_privileges_are_few(self, box: Box) -> None:
        lines = attempt(box, "--", "cat", "/proc/self/status").ok().stdout.splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == 1 << 5 | 1 << 10 | 1 << 29
        assert int(status["CapBnd"], 16) == 1 << 5 | 1 << 10 | 1 << 29
        attempt(box, "--", "mount", "-t", "tmpfs", "x", "/mnt").failed(status=32)

    def test_secrets_of_the_callers_environment_stay_outside(self, box: Box) -> None:
        env = os.environ | {"TOKEN": "secret", "SHARED": "public"}
        shown = attempt(box, "-e", "SHARED", "-e", "A=b", "--", "env", env=env).ok().stdout
        assert "secret" not in shown
        assert {"SHARED=public", "A=b"} <= set(shown.split())

    def test_a_user_of_this_machine_may_be_named(self, box: Box) -> None:
        assert "uid=1(daemon)" in attempt(box, "-u", "daemon", "--", "id").ok().stdout

    def test_the_networks_of_the_host_on_request(self, box: Box) -> None:
        shown = attempt(box, "--net", "host", "--", "ls", "/sys/class/net").ok().stdout
        assert sorted(shown.split()) == sorted(os.listdir("/sys/class/net"))


def lay_canaries(folder: Path) -> None:
    """In a forked child: a /usr/local on a disk of its own, with what must not be seen in it."""
    guard_machine(folder)
    libc_call("mount", b"/dev/canary", b"/usr/local", b"tmpfs", 0, b"mode=755")
    folder = Path("/usr/local/etc/canary")
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "key").write_text("key\n")
    (folder / "closed").chmod(0o700)
    (folder / "secret").write_text("secret\n")
    (folder / "secret").chmod(0o640)
    (folder / "open").write_text("open\n")
    os.mkfifo(folder / "fifo", 0o644)
    os.mknod(folder / "null", 0o020644, os.makedev(1, 3))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    (folder / "socket").chmod(0o666)
    listener.set_inheritable(True)  # it lives as long as the runtime
    listener.detach()


class TestOverADirectory:
    """--root DIR."""

    def test_its_top_looks_as_it_is(self, box: Box, image: Path) -> None:
        done = attempt(box, "--root", image, "--", "sh", "-c", "cat /top /data/file; ls -l /sbin")
        assert done.ok().stdout.startswith("at the top\nof the image\n")
        assert "/sbin -> bin" in done.stdout

    def test_changes_are_listed_and_gone(self, box: Box, image: Path) -> None:
        before = tree_of(image)
        script = "echo > /data/file; echo > /new; rm /top; mkdir /data/d; echo > /data/d/e; id"
        done = attempt(box, "--root", image, "--diff", "--", "sh", "-c", script).ok()
        changes = ["C /data/file", "A /new", "A /data/d", "A /data/d/e", "D /top"]
        assert done.stdout.splitlines()[1:] == sorted(changes, key=lambda line: line[2:])
        assert tree_of(image) == before

    def test_a_directory_made_anew_hides_the_old_one(self, box: Box, image: Path) -> None:
        script = "rm -r /data/../data/file; mkdir /data/sub; rmdir /data/sub; mkdir /tmp/x"
        done = attempt(box, "--root", image, "--diff", "--", "sh", "-c", script).ok()
        assert done.stdout == "D /data/file\n"

    def test_writes_are_kept_and_found_again(self, box: Box, image: Path) -> None:
        kept = box.folder / "kept"
        keep = ("--root", image, "--keep", kept)
        attempt(box, *keep, "--", "sh", "-c", "echo kept > /data/new").ok()
        assert (kept / "upper" / "data" / "new").read_text() == "kept\n"
        assert attempt(box, *keep, "--", "cat", "/data/new").ok().stdout == "kept\n"
        assert not (image / "data" / "new").exists()

    def test_what_was_kept_leads_nowhere_on_the_host(self, box: Box) -> None:
        # A container has replaced directories of its root by links to the host.
        kept, decoy = box.folder / "kept", box.folder / "decoy"
        decoy.mkdir()
        attempt(box, "--keep", kept, "--", "true").ok()
        # Moved, not removed: were something of the host still mounted there, it would be lost.
        (kept / "rootfs" / "var").rename(box.folder / "moved")
        (kept / "rootfs" / "var").symlink_to(decoy)
        (kept / "rootfs" / "home").rmdir()
        (kept / "rootfs" / "home").symlink_to(decoy / "home")
        attempt(box, "--keep", kept, "--", "true")
        assert os.listdir(decoy) == []

    def test_a_directory_keeps_for_one_call_at_a_time(self, box: Box, image: Path) -> None:
        keep = ("--root", image, "--keep", box.folder / "kept")
        process, result = box.runtime.spawn("try", *keep, "--", "sh", "-c", "echo ready; sleep 2")
        wait_until(lambda: "ready" in result.stdout, "the command runs")
        attempt(box, *keep, "--", "true").failed("in use by another")
        finish(process, result).ok()

    def test_a_directory_with_other_things_keeps_nothing(self, box: Box, image: Path) -> None:
        attempt(box, "--keep", image, "--", "true").failed("is not empty", "bin")
        attempt(box, "--bundle", image, "--", "true").failed("is not empty")
        assert not (image / "upper").exists()

    def test_a_layer_may_not_have_a_colon(self, box: Box, image: Path) -> None:
        (image / "a:b").mkdir()
        attempt(box, "--root", image, "--", "true").failed("a:b", "colon")

    def test_a_missing_root_is_named(self, box: Box) -> None:
        attempt(box, "--root", "/nonexistent", "--", "true").failed("/nonexistent", "no such file")

    def test_a_top_link_into_the_host_is_followed_inside_only(self, box: Box, image: Path) -> None:
        (image / "out").symlink_to("/etc")
        attempt(box, "--root", image, "--", "ls", "/out/passwd").failed()
        (image / "lib").symlink_to("../../../../etc")
        attempt(box, "--root", image, "--", "ls", "/lib/passwd").failed()

    def test_its_proc_and_dev_may_be_links(self, box: Box, image: Path) -> None:
        for name in ("proc", "dev", "run", "sys"):
            (image / name).symlink_to("/data")
        done = attempt(box, "--root", image, "--", "sh", "-c", "ls /data /dev/null /proc/1/status")
        assert done.ok().stdout.splitlines()[:2] == ["/dev/null", "/proc/1/status"]

    def test_users_are_numbers_here(self, box: Box, image: Path) -> None:
        root = ("--root", image)
        attempt(box, *root, "-u", "daemon", "--", "id").failed("--user must be numbers")
        assert attempt(box, *root, "-u", "7:8", "--", "id").ok().stdout == "uid=7 gid=8\n"

    def test_volumes_are_shown_as_asked(self, box: Box, image: Path, shared: Path) -> None:
        volumes = ("-v", f"{shared}:/a", "-v", f"{shared}:/b/c:ro")
        script = "cat /a/file; echo new > /a/new; echo x > /b/c/x; cat /b/c/new"
        done = attempt(box, "--root", image, *volumes, "--", "sh", "-c", script).ok()
        assert done.stdout == "of the host\nnew\n"
        assert "Read-only" in done.stderr
        assert sorted(os.listdir(shared)) == ["file", "new"]

    def test_a_bundle_is_written_that_others_run(self, box: Box, image: Path) -> None:
        bundle = box.folder / "written"
        words = ("--root", image, "--bundle", bundle, "-m", "64M", "--", "cat", "/data/file")
        attempt(box, *words).ok()
        config = json.loads((bundle / "config.json").read_text())
        assert config["linux"]["resources"]["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
        del config["linux"]["resources"]  # which an old runc cannot set on each machine
        (bundle / "config.json").write_text(json.dumps(config))
        for name in ("ours", "runc"):
            try:
                _, path = peers.find_runtime(name)
            except FileNotFoundError:
                continue
            call = [path, "--root", str(box.folder / name), "run", "-b", str(bundle), f"try-{name}"]
            done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
            assert done.stdout == "of the image\n", done.stderr


class TestLimits:
    """-m and --cpus, and the number of processes."""

    @needs("cgroup memory", "cgroup cpu", "cgroup pids")
    def test_limits_are_in_the_bundle_and_felt(self, box: Box, image: Path) -> None:
        words = ("--root", image, "-m", "32M", "--cpus", "0.5")
        bundle = box.folder / "written"
        attempt(box, *words, "--bundle", bundle, "--", "true").ok()
        resources = json.loads((bundle / "config.json").read_text())["linux"]["resources"]
        assert resources["cpu"] == {"quota": 50000, "period": 100000}
        assert resources["pids"] == {"limit": 1024}
        # What is written is memory of the container: it ends at the limit.
        script = "dd if=/dev/zero of=/data/zeros bs=1048576 count=256"  # a limit that fails, too
        done = attempt(box, *words, "--", "sh", "-c", script)
        assert done.status in (1, 137)


class TestTerminal:
    """-it."""

    def test_a_shell_at_a_terminal(self, box: Box, image: Path) -> None:
        call = box.runtime.prepare("try", "-it", "--root", image, "--", "sh")
        child = pexpect.spawn(call.argv[0], call.argv[1:], timeout=10, dimensions=(24, 80))
        child.expect_exact("# ")
        child.sendline("echo $((40 + 2)); exit 3")
        child.expect("42")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 3

    def test_without_one_it_is_refused(self, box: Box) -> None:
        attempt(box, "-it", "--", "sh").failed("standard input is not a terminal")


class TestEnds:
    """How it ends when something goes wrong; the box checks that nothing is left."""

    def test_a_command_that_is_not_there(self, box: Box, image: Path) -> None:
        attempt(box, "--root", image, "--", "nosuch").failed("nosuch", "executable file not found")

    def test_a_signal_ends_the_command(self, box: Box, image: Path) -> None:
        script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"
        process, result = box.runtime.spawn("try", "--root", image, "--", "sh", "-c", script)
        wait_until(lambda: "ready" in result.stdout, "the command runs")
        process.send_signal(signal.SIGTERM)
        assert finish(process, result).status == 5

    def test_two_at_once_do_not_meet(self, box: Box, image: Path) -> None:
        script = "echo > /data/mine; echo ready; sleep 1; ls /data"
        calls = [
            box.runtime.spawn("try", "--root", image, "--", "sh", "-c", script) for _ in range(2)
        ]
        for process, result in calls:
            assert finish(process, result).stdout == "ready\nfile\nmine\n"

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("-m", "lots"), "is not a size"),
            (("--cpus", "many"), "is not a number of CPUs"),
            (("--cpus", "0"), "is not a number of CPUs"),
            (("-v", "/etc"), "is not SOURCE:/DESTINATION"),
            (("-v", "/etc:relative"), "is not SOURCE:/DESTINATION"),
            (("-v", "/nonexistent:/x"), "/nonexistent does not exist"),
            (("-e", "NOT_SET_ANYWHERE"), "this variable is not set"),
            (("-w", "relative"), "the path must be absolute"),
            (("-u", "no-such-user"), "has no user"),
            (("-u", "1:x"), "is not UID[:GID]"),
            (("--net", "cni:"), "is not none, host, user or cni:NAME"),
            (("--net", "bridge0"), "is not none, host, user or cni:NAME"),
            (("--bundle", "x", "--diff"), "--bundle runs nothing"),
        ],
    )
    def test_wrong_options_are_refused(
        self, box: Box, words: tuple[str, ...], sentence: str
    ) -> None:
        attempt(box, *words, "--", "true").failed(sentence)


@needs("userns")
class TestRootless:
    """The caller is not root."""

    @pytest.fixture
    def home(self, box: Box) -> Home:
        return Home(box)

    def test_over_this_machine(self, home: Home) -> None:
        script = "id -u; echo x > /root/x; cat /root/x; echo x > /etc/canary; exit 9"
        done = attempt(home.box, "--diff", "--", "sh", "-c", script)
        assert (done.status, done.stdout) == (9, "0\nx\nA /root/x\n"), done.stderr

    def test_over_a_directory_of_ones_own(self, home: Home, image: Path) -> None:
        home._own(image)
        before = tree_of(image)
        script = "echo new > /data/file; rm -r /top; cat /data/file; cat /proc/self/uid_map"
        done = attempt(home.box, "--root", image, "--diff", "--", "sh", "-c", script).ok()
        first, *maps, changed, deleted = done.stdout.splitlines()
        assert (first, changed, deleted) == ("new", "C /data/file", "D /top")
        assert maps[0].split() == ["0", str(home.user.uid), "1"]
        assert tree_of(image) == before

    @needs("tool newuidmap")
    def test_subordinate_ids_are_mapped(self, home: Home, image: Path) -> None:
        home._own(image)
        words = ("--root", image, "-u", "1000:1000", "--", "cat", "/proc/self/uid_map")
        rows = [line.split() for line in attempt(home.box, *words).ok().stdout.splitlines()]
        assert rows == [["0", str(home.user.uid), "1"], ["1", "700000", "65536"]]

    def test_one_id_where_there_are_no_others(self, box: Box, image: Path) -> None:
        home = Home(box, User(box.folder, subordinate=(700000, 0)))
        home._own(image)
        words = ("--root", image, "--", "cat", "/proc/self/uid_map", "/proc/self/setgroups")
        assert attempt(box, *words).ok().stdout.split() == ["0", str(home.user.uid), "1", "deny"]

    def test_a_bundle_for_a_user(self, home: Home, image: Path) -> None:
        home._own(image)
        bundle = home.user.folder / "written"
        attempt(home.box, "--root", image, "--bundle", bundle, "--", "cat", "/data/file").ok()
        done = home.box.runtime.call("run", "-b", bundle, "try-user", **home.keys).ok()
        assert done.stdout == "of the image\n"

    def test_without_a_runtime_directory(self, home: Home, image: Path) -> None:
        home._own(image)
        temporary = home.box.folder / "tmp"
        temporary.mkdir(mode=0o1777)
        temporary.chmod(0o1777)
        words = ("try", "--root", str(image), "--", "cat", "/data/file")
        done = home.command(*words, XDG_RUNTIME_DIR="", TMPDIR=str(temporary))
        assert done.stdout == "of the image\n"
        assert os.listdir(temporary) == [f"ocirun-{home.user.uid}"]
