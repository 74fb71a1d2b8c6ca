"""`--engine lxc`: the verbs, on containers that LXC runs.

Source: docs/engines.md; lxc-start(1), lxc.container.conf(5).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.runtime import Result, wait_until

pytestmark = needs("ours", "root", "tool lxc-start")

LOOP = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.05; done"


def made(box: Box, *args: str, **process: Any) -> Container:  # noqa: ANN401
    """Name a new container, with /proc and /dev as `ocirun spec` has them."""
    container = box.container(None, *args, **process)
    config = container.bundle.config
    config["hostname"] = "box"
    config["linux"]["maskedPaths"] = ["/proc/acpi", "/proc/keys", "/nowhere"]
    config["linux"]["readonlyPaths"] = ["/proc/sys"]
    return container


def by_lxc(container: Container, verb: str, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
    container.bundle.save()
    words = (verb, "--bundle", container.bundle.path, *flags, container.id)
    result = container.runtime.call("--engine", "lxc", *words, **keys)
    container._first = result
    return result


def test_each_verb_works_on_a_container_of_lxc(box: Box, tmp_path: Path) -> None:
    container = made(box, "sh", "-c", LOOP)
    runtime = box.runtime
    by_lxc(container, "create", "--pid-file", tmp_path / "pid").ok()
    assert container.status == "created"
    pid = container.pid
    assert (tmp_path / "pid").read_text() == str(pid)
    assert runtime.call("ps", "--format", "json", container.id).ok().json() == [pid]
    assert container.output == ""
    container.start().ok()
    container.start().failed("cannot start an already running container")
    container.wait_output("up")
    assert [one["status"] for one in runtime.call("list", "-f", "json").ok().json()] == ["running"]
    container.kill("USR1").ok()
    container.wait_output("usr1")
    call = container.exec("sh", "-c", "hostname; exit 4")
    assert (call.stdout, call.status) == ("box\n", 4)
    runtime.call("mounts", "add", container.id, "-").failed("is run by the engine lxc")
    runtime.call("checkpoint", container.id).failed("is run by the engine lxc")
    runtime.call("pause", container.id).ok()
    assert container.status == "paused"
    runtime.call("resume", container.id).ok()
    runtime.call("update", "--pids-limit", "55", container.id).ok()
    stats = runtime.call("events", "--stats", container.id).ok().json()["data"]
    assert stats["pids"]["limit"] == 55
    container.delete().failed("that is not stopped: running")
    container.kill().ok()
    container.wait_output("term")
    container.wait_status("stopped")
    container.kill().failed("container not running")
    container.delete().ok()


SHOWN = """\
cat; hostname; id; pwd; ulimit -n; echo $A; ls /dev | tr '\\n' ' '; ls /proc/acpi; cat /proc/keys
grep -E '^(Cap|NoNew)' /proc/self/status; cat /proc/net/dev | wc -l
touch /proc/sys/kernel/hostname 2>/dev/null || echo no; touch /new 2>/dev/null || echo read-only
head -c 1 /dev/zero | wc -c; stat -c %a /proc/sys; echo err >&2; exit 7"""


def test_a_program_sees_the_same_as_in_a_native_container(box: Box, tmp_path: Path) -> None:
    hooks = ("prestart", "createRuntime", "poststart", "poststop")
    results = []
    for engine in ("native", "lxc"):
        container = made(box, "sh", "-c", SHOWN, cwd="/tmp", noNewPrivileges=True)
        config = container.bundle.config
        config["process"]["env"] += ["A=b c"]
        config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
        config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
        config["root"]["readonly"] = True
        config["hooks"] = {
            moment: [
                {
                    "path": "/bin/sh",
                    "args": ["sh", "-c", f"cat >/dev/null; echo {moment} >>{tmp_path / engine}"],
                }
            ]
            for moment in hooks
        }
        (tmp_path / "in").write_text("given\n")
        container.bundle.save()
        words = ("run", "--bundle", container.bundle.path, container.id)
        with (tmp_path / "in").open() as stdin:
            call = box.runtime.call("--engine", engine, *words, stdin=stdin)
        shown = [line for line in call.stdout.splitlines() if "mqueue" not in line]
        results.append((call.status, shown, call.stderr, (tmp_path / engine).read_text().split()))
    assert results[0][0] == 7
    assert results[0][3] == list(hooks)
    assert results[1] == results[0]


def test_the_exit_status_has_the_signal(box: Box) -> None:
    container = made(box, "sh", "-c", "echo up; exec sleep 60")
    by_lxc(container, "create").ok()
    runtime, words = box.runtime, ("--bundle", container.bundle.path)
    container.kill("KILL").ok()  # before it was started
    container.wait_status("stopped")
    container.delete().ok()
    argv = [runtime.path, "--root", str(box.folder / "state2"), "--engine", "lxc", "run", *words]
    with subprocess.Popen([*argv, container.id], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        subprocess.run([*argv[:3], "kill", container.id, "KILL"], check=True)
        assert process.wait(20) == 128 + signal.SIGKILL
    container = made(box, "sh", "-c", LOOP)
    container.bundle.save()
    argv[-1] = str(container.bundle.path)
    with subprocess.Popen([*argv, container.id], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()  # forwarded
        assert process.wait(20) == 5


def test_a_terminal_is_the_controlling_one_and_has_our_size(box: Box) -> None:
    script = "tty; stty size; echo ok >/dev/tty; read line; echo got $line; stty size; exit 6"
    container = made(box, "sh", "-c", script, terminal=True)
    container.bundle.add_mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    container.bundle.save()
    argv = ["--root", str(box.folder / "state2"), "--engine", "lxc", "run", "--bundle"]
    child = pexpect.spawn(
        box.runtime.path, [*argv, str(container.bundle.path), container.id], dimensions=(31, 97)
    )
    child.expect("^/dev/pts/0\r+\n31 97\r+\nok\r+\n")
    child.setwinsize(20, 50)
    child.sendline("word")
    child.expect("got word\r+\n20 50\r+\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["process"].update(args=["nosuch"]),
         "No such file or directory - Failed to exec"),
        (lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ALLOW"}),
         "LXC has no counterpart for linux.seccomp.defaultAction"),
        (lambda c: c.update(hooks={"startContainer": [{"path": "/bin/true"}]}),
         "LXC has no counterpart for hooks.startContainer"),
        (lambda c: c["mounts"].append({"destination": "/data", "type": "bind", "source": "/usr",
                                       "options": ["rbind", "rro"]}),
         "LXC has no counterpart for mounts./data.options.rro"),
        (lambda c: c.update(annotations={"run.oci.keep_original_groups": "1", "a": "b"}),
         "LXC has no counterpart for annotations.run.oci.keep_original_groups"),
        (lambda c: c.update(annotations={"org.ocirun.networks": '[{"type": "veth", "bridge": "b0", '
                                         '"address": "10.9.9.2/24", "masquerade": true}]'}),
         "LXC has no counterpart for annotations.org.ocirun.networks.0.masquerade"),
        (lambda c: c.update(hooks={"createRuntime": [{"path": "/bin/false"}]}),
         "error running createRuntime hook"),
        (lambda c: c["mounts"].append({"destination": "/data", "type": "nofs", "source": "x"}),
         "No such device - Failed to mount"),
    ],
)  # fmt: skip
def test_what_lxc_cannot_do_is_refused_and_nothing_is_left(
    box: Box, change: Any, words: str  # noqa: ANN401
) -> None:  # fmt: skip
    container = made(box, "true")
    change(container.bundle.config)
    by_lxc(container, "run").failed(words)
    assert subprocess.run(["pgrep", "-f", container.id], check=False).returncode == 1


def test_engines_and_settings_that_do_not_fit_are_refused(box: Box) -> None:
    container = made(box, "true")
    container.bundle.save()
    words = ("run", "--bundle", container.bundle.path, container.id)
    box.runtime.call("--engine", "vmm", *words).failed("invalid engine: vmm")
    box.runtime.call("--engine", "lxc", "--systemd-cgroup", *words).failed("the cgroup manager")
    env = {**os.environ, "NOTIFY_SOCKET": "/nowhere"}
    box.runtime.call("--engine", "lxc", *words, env=env).failed("unset NOTIFY_SOCKET")
    env = {**os.environ, "PATH": str(box.folder)}
    box.runtime.call("--engine", "lxc", *words, env=env).failed("lxc-start is not in $PATH")


def test_a_create_that_is_killed_can_be_deleted(box: Box) -> None:
    """Its lxc-start lives on, and waits at the gate; so does that of a created container."""
    container = made(box, "sh", "-c", "sleep 60")
    container.bundle.config["hooks"] = {
        "prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID; sleep 1"]}]
    }
    assert by_lxc(container, "create").status == -signal.SIGKILL
    box.runtime.call("delete", "--force", container.id).ok()
    del container.bundle.config["hooks"]
    by_lxc(container, "create").ok()
    box.runtime.call("delete", container.id).ok()
    by_lxc(container, "create").ok()
    container.start().ok()
    folder = Path(box.runtime.call("state", container.id).ok().json()["bundle"])
    assert folder == container.bundle.path
    # Whoever kills lxc-start ends the container.
    found = subprocess.run(["pgrep", "-f", f"lxc-start.*{container.id}"], capture_output=True,
                           text=True, check=True)  # fmt: skip
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    wait_until(lambda: container.status == "stopped", "stopped")
    container.delete().ok()


def test_the_record_names_the_engine_and_the_configuration_is_lxcs(box: Box) -> None:
    container = made(box, "sh", "-c", "exec sleep 60")
    container.bundle.linux["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    by_lxc(container, "create").ok()
    [record] = box.folder.parent.rglob(f"{container.id}/state.json")
    assert json.loads(record.read_text())["engine"] == "lxc"
    lines = (record.parent / "config").read_text().splitlines()
    assert "lxc.uts.name = box" in lines
    assert any("memory" in line and line.endswith("= 67108864") for line in lines)
    container.start().ok()
    command = ["lxc-info", "-P", record.parents[1], "-n", container.id, "-p", "-H"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert int(shown.stdout) == container.pid
    box.runtime.call("delete", "--force", container.id).ok()
