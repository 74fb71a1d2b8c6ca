"""What clients really ask of their runtime, as docs/runc-compat/callers.md#arguments has it."""

from __future__ import annotations

from pathlib import Path

from harness import machine, peers

from clients.containerd import Containerd, Ctr
from clients.podman import Podman
from clients.recorder import Call, Recorder

VERBS = ("create", "start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "events")


def test_containerd_asks(containerd: Containerd, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "ocirun", peers.find_runtime("ours")[1])
    ctr = Ctr(containerd, str(recorder.path), f"{machine.MARK}-recorder")
    name = ctr.start()
    ctr.exec(name, "true").expect()
    ctr.task("ps", name).expect()
    ctr.task("pause", name).expect()
    ctr.task("resume", name).expect()
    containerd.forget(name)
    calls = recorder.calls()
    said = [_verb(call) for call in calls]
    expected = ["create", "start", "exec", "ps", "pause", "resume", "kill", "delete"]
    assert said[: len(expected)] == expected
    # The shim's last act is a forced delete, for what it may have lost track of.
    assert all(_verb(call) == "delete" and "--force" in call.argv for call in calls[8:])
    for call in calls:
        assert call.argv[:2] == ["--root", str(containerd.runtime_root)]
        assert _after(call, "--log-format") == "json"
        assert "containerd-shim-runc-v2" in call.parent
        assert call.argv[-1] in (name, "9")
        assert "NOTIFY_SOCKET" not in call.env
    create, execute = calls[0], calls[2]
    assert Path(_after(create, "--bundle")).name == name
    assert _after(create, "--pid-file").endswith("/init.pid")
    assert "--detach" in execute.argv
    assert "--process" in execute.argv


def test_podman_asks(podman_storage: Path, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "ocirun", peers.find_runtime("ours")[1])
    podman = Podman(podman_storage, str(recorder.path), f"{machine.MARK}-recorder")
    name = podman.start()
    podman("exec", name, "true").expect()
    podman("pause", name).expect()
    podman("unpause", name).expect()
    podman("rm", "-f", "-t", "0", name).expect()
    calls = [call for call in recorder.calls() if _verb(call)]
    said = [_verb(call) for call in calls]
    for verb in ("create", "start", "exec", "pause", "resume", "kill", "delete"):
        assert verb in said
    create = calls[said.index("create")]
    assert "conmon" in create.parent
    assert _after(create, "--log-format") == "--log-format=json"
    assert _after(create, "--pid-file").endswith("pidfile")
    assert "--force" in calls[said.index("delete")].argv


def _verb(call: Call) -> str:
    return next((word for word in call.argv if word in VERBS), "")


def _after(call: Call, option: str) -> str:
    """Return the value of an option; of `--option=value` the whole word."""
    for number, word in enumerate(call.argv):
        if word == option:
            return call.argv[number + 1]
        if word.startswith(f"{option}="):
            return word
    raise AssertionError(f"no {option} in {call.argv}")
