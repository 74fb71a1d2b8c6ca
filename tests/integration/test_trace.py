"""`--trace` and `trace view`.

Source: docs/how-a-container-starts.md#recording; ocirun/trace/.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.hooks import Hooks
from harness.needs import needs
from harness.runtime import Result
from harness.user import Home

MESSAGES = {
    *("bootstrapData", "sendConfig", "procReady", "procRun", "procHooks", "procResume"),
    "procGate",
}
SECRET = "s3cret-value"
HOSTILE = "<img src=x onerror=document.title='hit'>"


class Traced:
    """The events of a trace file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self.events: list[dict[str, Any]] = json.loads(self.text)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("name") == name]

    def of(self, kind: str, category: str = "") -> list[dict[str, Any]]:
        found = [event for event in self.events if event["ph"] == kind]
        return [event for event in found if category in ("", event.get("cat"))]

    def roles(self) -> dict[str, int]:
        return {event["args"]["role"]: event["pid"] for event in self.named("process_name")}

    def check(self) -> Traced:
        """Be sure that it is well formed: what begins ends, each arrow has both ends."""
        for pid in {event["pid"] for event in self.events}:
            depth = 0
            for event in self.events:
                if event["pid"] == pid and event["ph"] in "BE":
                    depth += 1 if event["ph"] == "B" else -1
                    assert depth >= 0
            assert depth == 0
        ends = {kind: sorted(event["id"] for event in self.of(kind)) for kind in "sf"}
        assert ends["s"] == ends["f"]
        assert len(set(ends["s"])) == len(ends["s"])
        (end,) = self.named("ocirun_end")
        assert end["args"]["left_out"] == 0
        return self


def traced(box: Box, *words: str | Path, name: str = "trace.json", **keys: Any) -> Result:  # noqa: ANN401
    """Call the runtime with --trace; the file is `name` in the folder of the test."""
    return box.runtime.call("--trace", box.folder / name, *words, **keys)


def run(box: Box, container: Container, **keys: Any) -> Result:  # noqa: ANN401
    words = ("run", "--bundle", container.bundle.path, container.id)
    return traced(box, *words, bundle=container.bundle, **keys)


@pytest.fixture(autouse=True)
def _ours(box: Box) -> None:
    if box.runtime.name != "ours":
        pytest.skip(f"this is not about {box.runtime.name}")


class TestRun:
    def test_both_processes_are_recorded_and_the_result_is_the_same(self, box: Box) -> None:
        hooks = Hooks(box, "sh", "-c", "echo out; echo err >&2; exit 7")
        hooks.bundle.process["env"].append(f"TOKEN={SECRET}")
        hooks.bundle.add_mount("/shm", "tmpfs", "tmpfs", "size=64k")
        for moment in ("createRuntime", "createContainer"):
            hooks.record(moment)
        plain = box.container(hooks.bundle).run()
        result = run(box, box.container(hooks.bundle))
        assert (result.status, result.stdout, result.stderr) == (7, plain.stdout, plain.stderr)
        trace = Traced(box.folder / "trace.json").check()
        assert trace.path.stat().st_mode & 0o777 == 0o600
        assert SECRET not in trace.text
        assert {event["name"] for event in trace.of("s")} == MESSAGES
        roles = trace.roles()
        assert set(roles) == {"parent", "init"}
        (init,) = [one for one in trace.named("process_name") if one["args"]["role"] == "init"]
        assert init["args"]["pid"] == 1
        clone = trace.named("clone3")[0]
        assert "CLONE_NEWPID" in clone["args"]["call"]
        assert clone["args"]["call"].endswith(f" = {roles['init']}")
        (found,) = [one for one in trace.of("i") if one["pid"] == roles["init"]]
        assert {"mnt", "pid", "net"} <= set(found["args"]["not_the_hosts"])
        steps = [event["name"] for event in trace.of("B", "step")]
        assert steps.index("mount proc on /proc") < steps.index("enter the root by pivot_root")
        assert steps[-1] == "exec the program"
        assert {event["pid"] for event in trace.of("B", "step")} == {roles["init"]}
        calls = [event["args"]["call"] for event in trace.of("X", "syscall")]
        assert any(call.startswith("pivot_root(") for call in calls)
        assert any(call.startswith('fsopen(fs_name="proc"') for call in calls)
        assert any("MOUNT_ATTR_" in call for call in calls if call.startswith("fsmount("))
        assert sum(call.startswith("execve(") for call in calls) == 1
        names = [event["name"] for event in trace.of("B", "span")]
        assert {"run createRuntime hooks", "run createContainer hooks", "wait for the program"} <= {
            *names
        }
        claimed = [e for e in trace.of("B", "span") if e["name"] == "apply the limits"]
        assert any(box.containers[-1].id in path for path in claimed[0]["args"]["cgroups"])
        assert all(event["args"]["file"].startswith("ocirun/") for event in trace.of("B"))

    def test_a_failing_step_is_in_the_trace_and_in_the_view(self, box: Box) -> None:
        bundle = box.bundle("true")
        bundle.add_mount("/m", "nosuchfs", "x")
        result = run(box, box.container(bundle)).failed()
        trace = Traced(box.folder / "trace.json").check()
        (failed,) = [e for e in trace.of("X", "syscall") if e["name"] == "fsopen"
                     and "nosuchfs" in e["args"]["call"]]  # fmt: skip
        assert failed["args"]["error"].startswith("ENODEV")
        assert trace.named("ocirun_end")[0]["args"]["error"] in result.said
        view = box.runtime.call("trace", "view", trace.path).ok()
        assert "Failed: init: " in view.stdout
        assert "nosuchfs" in view.stdout

    def test_a_command_that_is_refused_at_once_has_a_trace(self, box: Box) -> None:
        traced(box, "start", "ocitest-nothing").failed("does not exist")
        trace = Traced(box.folder / "trace.json").check()
        assert "does not exist" in trace.named("ocirun_end")[0]["args"]["error"]

    def test_the_filter_of_a_container_does_not_meet_the_trace(self, box: Box) -> None:
        bundle = box.bundle("true")
        names = ["execve", "exit_group", "arch_prctl", "brk", "set_tid_address", "getuid"]
        names += ["read", "write", "close", "capset", "capget", "prctl", "uname", "readlink"]
        names += ["set_robust_list", "prlimit64", "mprotect", "getrandom", "rseq", "mmap"]
        names += ["futex", "exit", "setgid", "setuid", "setgroups", "setresuid", "getegid"]
        names += ["munmap", "rt_sigprocmask", "rt_sigaction", "sched_yield", "fstat", "setgroups32"]
        names += ["readlinkat"]  # glibc 2.41
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        }
        plain = box.container(bundle).run()
        assert run(box, box.container(bundle)).status == plain.status == 0
        steps = [e["name"] for e in Traced(box.folder / "trace.json").check().of("B", "step")]
        assert steps[-1] == "exec the program"


class TestOtherVerbs:
    def test_create_start_exec_and_delete_and_their_page(self, box: Box) -> None:
        container = box.container(box.bundle("/probe", "wait"))
        words = ("--bundle", container.bundle.path, container.id)
        traced(box, "create", *words, name="1.json", bundle=container.bundle).ok()
        paths = [os.readlink(fd) for fd in Path(f"/proc/{container.pid}/fd").iterdir()]
        assert not [path for path in paths if "json" in path]
        traced(box, "start", container.id, name="2.json").ok()
        traced(box, "exec", container.id, "true", name="3.json").ok()
        container.kill("KILL").ok()
        container.wait_status("stopped")
        traced(box, "delete", container.id, name="4.json").ok()
        traces = [Traced(box.folder / f"{number}.json").check() for number in (1, 2, 3, 4)]
        assert {event["name"] for event in traces[0].of("s")} == MESSAGES
        assert "open the gate" in [event["name"] for event in traces[1].of("B")]
        assert set(traces[2].roles()) == {"parent", "stage", "init"}
        assert "procCloned" in {event["name"] for event in traces[2].of("s")}
        joined = [event["args"]["call"] for event in traces[2].named("setns")]
        assert any("CLONE_NEWPID" in call for call in joined)
        assert "remove the cgroup" in [event["name"] for event in traces[3].of("B")]
        page = box.folder / "page.html"
        files = [box.folder / f"{number}.json" for number in (4, 2, 3, 1)]
        view = box.runtime.call("trace", "view", "-o", page, *files).ok()
        assert page.read_text().startswith("<!DOCTYPE html>")
        order = [line.split(":")[0] for line in view.stdout.splitlines() if line[:7] == "ocirun "]
        assert [line.split()[1] for line in order] == ["create", "start", "exec", "delete"]

    def test_a_hook_finds_no_descriptor_of_the_trace(self, box: Box) -> None:
        hooks = Hooks(box)
        seen = box.folder / "seen"
        seen.touch()
        # Not $PPID: that is a number of the container's, and /proc is the host's.
        parent = "while read k v; do [ $k = PPid: ] && p=$v; done < /proc/self/status"
        for moment in ("createRuntime", "createContainer"):
            hooks.shell(moment, f"{parent}; ls -l /proc/$p/fd /proc/self/fd >> {seen}; true")
        run(box, box.container(hooks.bundle)).ok()
        assert seen.read_text().count("/fd:") == 4
        assert "start.fifo" in seen.read_text()
        assert "trace.json" not in seen.read_text()

    @needs("userns")
    def test_of_an_ordinary_user(self, box: Box) -> None:
        home = Home(box)
        container = box.container(home.bundle("true"))
        place = home.user.folder / "t.json"
        words = ("run", "--bundle", container.bundle.path, container.id)
        box.runtime.call("--trace", place, *words, bundle=container.bundle).ok()
        trace = Traced(place).check()
        assert place.stat().st_uid == home.user.uid
        assert {event["name"] for event in trace.of("s")} == MESSAGES
        assert "write the id maps" in [event["name"] for event in trace.of("B")]

    def test_a_joined_pid_namespace_takes_a_stage(self, box: Box) -> None:
        bundle = box.bundle("true")
        bundle.set_namespace("pid", f"/proc/{box.running().pid}/ns/pid")
        run(box, box.container(bundle)).ok()
        trace = Traced(box.folder / "trace.json").check()
        assert set(trace.roles()) == {"parent", "stage", "init"}
        assert {event["name"] for event in trace.of("s")} == MESSAGES | {"procCloned"}


class TestFile:
    def test_a_full_disk_breaks_nothing(self, box: Box) -> None:
        disk = box.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "x", disk], check=True)
        try:
            container = box.container(None, "sh", "-c", "echo here; exit 3")
            result = run(box, container, name="disk/trace.json")
            assert (result.status, result.stdout) == (3, "here\n")
            (line,) = result.log_lines
            assert line["level"] == "warning"
            assert "is not complete: no space left on device" in line["msg"]
            view = box.runtime.call("trace", "view", disk / "trace.json").ok()
            assert "cut off" in view.stdout
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_a_file_that_is_no_trace_is_refused_before_anything_is_done(self, box: Box) -> None:
        victim = box.folder / "notes"
        victim.write_text("mine")
        (box.folder / "link").symlink_to(victim)
        for name in ("notes", "link"):
            container = box.container(None, "touch", "/ran")
            run(box, container, name=name).failed(f"open {box.folder / name}: ")
            assert not (container.bundle.rootfs / "ran").exists()
            assert victim.read_text() == "mine"
            assert not (box.runtime.root / container.id).exists()


class TestPage:
    @needs("tool chromium")
    def test_a_browser_draws_it_and_runs_nothing_of_a_container(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "true", HOSTILE, "</script><script>hit()</script>")
        (bundle.rootfs / HOSTILE.replace("/", "")).mkdir()
        bundle.process["cwd"] = "/" + HOSTILE
        run(box, box.container(bundle)).ok()
        page = box.folder / "page.html"
        box.runtime.call("trace", "view", box.folder / "trace.json", "-o", page).ok()
        drawn = browse(page, box.folder)
        assert drawn.count('class="arrow"') == len(MESSAGES)
        assert drawn.count('class="lane-name"') == 2
        assert "mount proc on /proc" in drawn
        assert "<img" not in drawn
        assert "<title>hit" not in drawn


def browse(page: Path, folder: Path) -> str:
    """Return the document that headless Chromium has made of the page."""
    argv = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    argv += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [*argv, page.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout
