"""The process of a container: user, groups, umask, working directory, environment, arguments.

Source: runtime-spec config.md#process; docs/runc-compat/cli.md#matched-texts,
docs/runc-compat/init.md#order-of-init, docs/runc-compat/init.md#environment-of-the-process.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from harness.box import Box
from harness.bundle import PATH
from harness.needs import needs
from harness.peers import peer_deviates


class TestUser:
    """config.md#posix-platform-user."""

    def test_uid_and_gid_are_set_three_times(self, box: Box) -> None:
        report = box.report(box.bundle(user={"uid": 1000, "gid": 1001}))
        assert report["uids"] == [1000] * 3
        assert report["gids"] == [1001] * 3

    def test_a_user_without_a_passwd_entry_is_fine(self, box: Box) -> None:
        report = box.report(box.bundle(user={"uid": 54321, "gid": 54322}))
        assert (report["uids"][0], report["gids"][0]) == (54321, 54322)

    @peer_deviates("runc", "1.1 stops at 2147483647")
    def test_big_ids_do_not_pass_through_floats(self, box: Box) -> None:
        report = box.report(box.bundle(user={"uid": 4294967293, "gid": 4294967292}))
        assert (report["uids"][0], report["gids"][0]) == (4294967293, 4294967292)

    @peer_deviates("runc", "1.1 stops at 2147483647")
    def test_additional_groups_are_exactly_those(self, box: Box) -> None:
        user = {"uid": 1000, "gid": 1000, "additionalGids": [5, 7, 4294967290]}
        assert sorted(box.report(box.bundle(user=user))["groups"]) == [5, 7, 4294967290]

    def test_the_callers_groups_are_dropped(self, box: Box) -> None:
        bundle = box.bundle()
        run = box.container(bundle).run(extra_groups=[10, 11]).ok()
        assert run.json()["groups"] == []

    def test_umask_is_set(self, box: Box) -> None:
        report = box.report(box.bundle(user={"uid": 0, "gid": 0, "umask": 0o27}))
        assert report["umask"] == 0o27

    def test_the_umask_is_022_when_absent(self, box: Box) -> None:
        run = box.container().run(umask=0o077).ok()
        assert run.json()["umask"] == 0o022

    def test_stdio_belongs_to_the_user(self, box: Box) -> None:
        """So that /dev/stdout can be opened again by a user who is not root."""
        bundle = box.bundle("sh", "-c", "echo again > /dev/stdout", user={"uid": 1000, "gid": 0})
        assert box.output(bundle) == "again\n"


class TestCwd:
    """config.md#process, cwd."""

    def test_it_is_entered(self, box: Box) -> None:
        assert box.report(box.bundle(cwd="/tmp"))["cwd"] == "/tmp"

    def test_a_missing_one_is_made(self, box: Box) -> None:
        bundle = box.bundle(cwd="/a/b/c")
        assert box.report(bundle)["cwd"] == "/a/b/c"
        made = (bundle.rootfs / "a/b/c").stat()
        assert (made.st_mode & 0o777, made.st_uid) == (0o755, 0)

    def test_a_relative_one_is_refused(self, box: Box) -> None:
        box.container(None, cwd="tmp").create().failed("Cwd must be an absolute path")

    def test_an_empty_one_is_refused(self, box: Box) -> None:
        box.container(None, cwd="").create().failed("Cwd property must not be empty")

    def test_a_file_is_refused(self, box: Box) -> None:
        box.container(None, cwd="/etc/passwd").create().failed("not a directory")

    def test_a_link_is_followed_inside_the_root(self, box: Box) -> None:
        bundle = box.bundle(cwd="/link")
        (bundle.rootfs / "link").symlink_to("/home/user")
        assert box.report(bundle)["cwd"] == "/home/user"

    def test_a_folder_only_the_user_may_enter(self, box: Box) -> None:
        bundle = box.bundle(cwd="/private", user={"uid": 1000, "gid": 1000}, capabilities={})
        (bundle.rootfs / "private").mkdir(mode=0o700)
        os.chown(bundle.rootfs / "private", 1000, 1000)
        assert box.report(bundle)["cwd"] == "/private"


class TestEnvironment:
    """process.env, HOME and PATH."""

    def test_it_is_exactly_that_plus_home(self, box: Box) -> None:
        report = box.report(box.bundle(env=[PATH, "A=1", "B=x=y", "EMPTY="]))
        assert report["env"] == [PATH, "A=1", "B=x=y", "EMPTY=", "HOME=/root"]

    def test_home_comes_from_the_containers_passwd(self, box: Box) -> None:
        report = box.report(box.bundle(user={"uid": 1000, "gid": 1000}))
        assert "HOME=/home/user" in report["env"]

    def test_home_of_an_unknown_user_is_the_root(self, box: Box) -> None:
        assert "HOME=/" in box.report(box.bundle(user={"uid": 77, "gid": 0}))["env"]

    def test_home_without_a_passwd_is_the_root(self, box: Box) -> None:
        bundle = box.bundle()
        (bundle.rootfs / "etc/passwd").unlink()
        assert "HOME=/" in box.report(bundle)["env"]

    def test_a_home_that_is_given_stays(self, box: Box) -> None:
        assert "HOME=/x" in box.report(box.bundle(env=[PATH, "HOME=/x"]))["env"]

    def test_an_empty_home_counts_as_missing(self, box: Box) -> None:
        env = box.report(box.bundle(env=["HOME=", PATH]))["env"]
        assert [entry for entry in env if entry.startswith("HOME=")] == ["HOME=/root"]

    @peer_deviates("runc", "1.1 keeps both")
    def test_of_two_entries_the_last_survives_in_its_place(self, box: Box) -> None:
        env = box.report(box.bundle(env=["A=1", PATH, "B=2", "A=3"]))["env"]
        assert env == [PATH, "B=2", "A=3", "HOME=/root"]

    @pytest.mark.parametrize("entry", ["no-equals-sign", "=no-name", "nul=\0"])
    def test_a_malformed_entry_is_refused(self, box: Box, entry: str) -> None:
        box.container(None, env=[PATH, entry]).create().failed()

    def test_the_callers_environment_stays_outside(self, box: Box) -> None:
        caller = dict(os.environ, SECRET="1", PYTHONPATH="/x", LD_LIBRARY_PATH="/y")
        run = box.container().run(env=caller).ok()
        assert run.json()["env"] == [PATH, "HOME=/root"]

    def test_bytes_that_are_no_text_pass_through(self, box: Box) -> None:
        entry = 'X=ä€\t\n"\\'
        assert entry in box.report(box.bundle(env=[PATH, entry]))["env"]

    def test_a_passwd_that_is_a_hostile_link_leads_nowhere(self, box: Box) -> None:
        """It is resolved inside the root, where the host's file is not."""
        bundle = box.bundle()
        (bundle.rootfs / "etc/passwd").unlink()
        (bundle.rootfs / "etc/passwd").symlink_to("../../../../../../etc/passwd-of-the-host")
        assert "HOME=/" in box.report(bundle)["env"]

    @needs("ours")
    def test_a_passwd_that_is_a_fifo_does_not_block(self, box: Box) -> None:
        bundle = box.bundle()
        (bundle.rootfs / "etc/passwd").unlink()
        os.mkfifo(bundle.rootfs / "etc/passwd")
        run = box.container(bundle).run(timeout=10)
        assert run.status == 0
        assert "HOME=/" in run.json()["env"]


class TestLimits:
    """rlimits and oomScoreAdj."""

    def test_rlimits_are_set(self, box: Box) -> None:
        rlimits = [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
            {"type": "RLIMIT_CPU", "soft": 30, "hard": 60},
            {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 24},
        ]
        found = box.report(box.bundle(rlimits=rlimits))["rlimits"]
        for limit in rlimits:
            name = str(limit["type"]).removeprefix("RLIMIT_")
            assert found[name] == [limit["soft"], limit["hard"]]

    def test_an_infinite_rlimit_stays_infinite(self, box: Box) -> None:
        infinity = 18446744073709551615
        bundle = box.bundle(rlimits=[{"type": "RLIMIT_AS", "soft": 1 << 40, "hard": infinity}])
        assert box.report(bundle)["rlimits"]["AS"] == [1 << 40, infinity]

    def test_other_limits_are_inherited(self, box: Box) -> None:
        import resource

        found = box.report(box.bundle(rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]))
        assert tuple(found["rlimits"]["NOFILE"]) == resource.getrlimit(resource.RLIMIT_NOFILE)

    def test_an_unknown_rlimit_is_refused(self, box: Box) -> None:
        bundle = box.bundle(rlimits=[{"type": "RLIMIT_NOPE", "soft": 1, "hard": 1}])
        box.container(bundle).create().failed("RLIMIT_NOPE")

    @peer_deviates("runc", "1.1 takes the last of them")
    def test_the_same_rlimit_twice_is_refused(self, box: Box) -> None:
        limit = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
        box.container(None, rlimits=[limit, limit]).create().failed("RLIMIT_CORE")

    @needs("CAP_SYS_RESOURCE")
    def test_a_limit_can_be_raised(self, box: Box) -> None:
        bundle = box.bundle(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1 << 20, "hard": 1 << 20}])
        assert box.report(bundle)["rlimits"]["NOFILE"] == [1 << 20, 1 << 20]

    @pytest.mark.parametrize("value", [0, 100, 1000])
    def test_oom_score_adj_is_written(self, box: Box, value: int) -> None:
        assert box.report(box.bundle(oomScoreAdj=value))["oom_score_adj"] == value

    def test_oom_score_adj_is_inherited_when_absent(self, box: Box) -> None:
        with open("/proc/self/oom_score_adj") as own:
            assert box.report(box.bundle())["oom_score_adj"] == int(own.read())


class TestSignals:
    """What the runtime does to its own signals must not reach the program."""

    def test_nothing_is_ignored_or_blocked(self, box: Box) -> None:
        signals = box.report(box.bundle())["signals"]
        assert int(signals["ignored"], 16) == 0
        assert int(signals["blocked"], 16) == 0
        assert int(signals["caught"], 16) == 0

    def test_sigpipe_has_its_default_action(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "yes | head -1; echo end")
        assert box.output(bundle) == "y\nend\n"

    @needs("ours")
    @peer_deviates("runc", "inherits them")
    def test_what_the_caller_ignores_is_reset(self, box: Box) -> None:
        import signal

        def ignore() -> None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

        run = box.container().run(preexec_fn=ignore).ok()
        assert int(run.json()["signals"]["ignored"], 16) == 0
        assert int(run.json()["signals"]["blocked"], 16) == 0


class TestDescriptors:
    """Nothing of the runtime is open inside."""

    def test_only_stdio_is_open(self, box: Box) -> None:
        assert set(box.report(box.bundle())["fds"]) == {"0", "1", "2"}

    def test_what_the_caller_left_open_is_closed(self, box: Box) -> None:
        read, write = os.pipe()
        try:
            run = box.container().run(pass_fds=[read, write]).ok()
        finally:
            os.close(read)
            os.close(write)
        assert set(run.json()["fds"]) == {"0", "1", "2"}

    def test_a_created_containers_init_has_only_known_descriptors(self, box: Box) -> None:
        """While init waits at the gate nothing of the host's tree is open but the gate."""
        container = box.created()
        folder = f"/proc/{container.pid}/fd"
        targets = {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
        state_root = str(box.runtime.root)
        for fd, target in targets.items():
            if fd > 2 and target.startswith("/") and os.path.isdir(target):
                inside = target.startswith((str(container.bundle.rootfs), "/proc"))
                assert inside or target.startswith(state_root), targets
        assert len(targets) <= 12, targets


class TestOtherPlatforms:
    """What is about Windows and others changes nothing here."""

    def test_members_for_windows_are_ignored(self, box: Box) -> None:
        bundle = box.bundle(commandLine="cmd.exe /c dir")
        bundle.process["user"]["username"] = "nobody"
        report = box.report(bundle)
        assert report["argv"] == ["/probe"]
        assert report["uids"] == [0, 0, 0]

    @needs("ours")
    def test_debug_tells_what_is_ignored(self, box: Box) -> None:
        bundle = box.bundle("true", commandLine="cmd", consoleSize={"height": 1, "width": 1})
        bundle.process["user"]["username"] = "nobody"
        bundle.config["windows"] = {"layerFolders": ["x"]}
        container = box.container(bundle)
        call = box.runtime.prepare("run", "-b", bundle.path, container.id, bundle=bundle)
        call.argv.insert(1, "--debug")
        subprocess.run(call.argv, check=True, timeout=20)
        told = [line["msg"] for line in call.log_lines if line["msg"].startswith("ignoring")]
        assert told == [
            "ignoring /windows: it is about another platform",
            "ignoring /process/commandLine: it is for Windows",
            "ignoring /process/user/username: it is for Windows",
            "ignoring /process/consoleSize: there is no terminal",
        ]


class TestProcessOne:
    """Where the process stands among processes."""

    def test_it_is_number_one_and_leads_its_session(self, box: Box) -> None:
        report = box.report(box.bundle())
        assert (report["pid"], report["ppid"], report["sid"], report["pgid"]) == (1, 0, 1, 1)

    def test_it_is_dumpable_and_has_no_death_signal(self, box: Box) -> None:
        report = box.report(box.bundle())
        assert report["dumpable"] is True
        assert report["pdeathsig"] == 0

    def test_all_cpus_are_open_to_it(self, box: Box) -> None:
        """The runtime may have been pinned by its caller; the cpuset governs."""
        everywhere = os.sched_getaffinity(0)
        if len(everywhere) < 2:
            pytest.skip("one cpu only")
        if box.runtime.name in ("runc", "crun"):
            pytest.xfail("older than the reset of the affinity")
        run = box.container().run(preexec_fn=lambda: os.sched_setaffinity(0, [min(everywhere)]))
        assert run.ok().json()["cpus"] == len(everywhere)

    def test_stdin_stdout_and_stderr_are_the_callers(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "read x; echo out $x; echo err $x >&2")
        run = box.container(bundle).run(stdin=b"word\n").ok()
        assert run.stdout == "out word\n"
        assert run.stderr == "err word\n"

    @peer_deviates("runc", "1.1 needs /proc inside")
    def test_a_missing_proc_does_not_matter(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["mounts"] = []
        report = box.report(bundle)
        assert report["mountinfo"] is None
        assert report["pid"] == 1

    def test_the_report_itself_is_valid(self, box: Box) -> None:
        """The probe's own test: every key is there."""
        report = json.loads(box.output(box.bundle("/probe", "file:/etc/hostname")))
        assert report["files"] == {"/etc/hostname": "rootfs\n"}
        assert {"argv", "env", "cwd", "uids", "capabilities", "fds", "dev"} <= set(report)
