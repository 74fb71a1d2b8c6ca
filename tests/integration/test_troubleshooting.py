"""docs/troubleshooting.md: each sentence on the page is provoked, and nothing else is promised."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from harness.box import Box, Container
from harness.machine import REPO, has_apparmor, has_systemd
from harness.needs import needs
from harness.runtime import Result
from harness.user import User

PAGE = (REPO / "docs" / "troubleshooting.md").read_text()
SENTENCES = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)  # the first column of the tables
Provoke = Callable[[Container], Result]


def pattern(sentence: str) -> str:
    """The sentence as a pattern: `…` stands for names and numbers."""
    return ".+".join(re.escape(part) for part in sentence.split("…"))


def with_config(edit: Callable[[dict[str, Any]], object], verb: str = "run") -> Provoke:
    """Create a container of a bundle that was edited."""

    def provoke(container: Container) -> Result:
        edit(container.bundle.config)
        bundle = container.bundle
        return container.runtime.call(verb, "-b", bundle.path, container.id, bundle=bundle)

    return provoke


def with_args(*args: str) -> Provoke:
    return with_config(lambda config: config["process"].update(args=list(args)))


def with_mount(**mount: str | list[str]) -> Provoke:
    return with_config(lambda config: config["mounts"].append(mount))


def with_linux(**members: dict[str, Any]) -> Provoke:
    return with_config(lambda config: config["linux"].update(members))


def run_of(*words: str) -> Provoke:
    """Call `run` in a folder that is no bundle."""
    return lambda container: container.runtime.call("run", *words, cwd=container.bundle.rootfs)


def with_script(mode: int) -> Provoke:
    def provoke(container: Container) -> Result:
        script = container.bundle.rootfs / "script"
        script.write_text("#!/usr/bin/python9\n")
        script.chmod(mode)
        return with_args("/script")(container)

    return provoke


def with_broken_json(container: Container) -> Result:
    (container.bundle.path / "config.json").write_text('{"ociVersion": }')
    return container.runtime.call("run", "-b", container.bundle.path, container.id)


def as_an_ordinary_user(container: Container) -> Result:
    """The state root is the user's own, and so is the folder of the logs."""
    user = User(container.bundle.path)
    os.chown(container.bundle.path.parent / "calls", user.uid, user.uid)
    container.runtime.root = user.folder / "state"
    return container.run(preexec_fn=user.become, env=user.environment)


def when(status: str, *words: str) -> Provoke:
    """Call a verb on a container of that status; ID stands for its id."""

    def provoke(container: Container) -> Result:
        container.bundle.process["args"] = ["sleep", "60"]
        container.create().ok()
        if status != "created":
            container.start().ok()
        if status == "stopped":
            container.stop()
        filled = [container.id if word == "ID" else word for word in words]
        if words[0] == "run":
            filled[1:1] = ["-b", str(container.bundle.path)]
        return container.runtime.call(*filled)

    return provoke


def userns(config: dict[str, Any]) -> None:
    config["linux"]["namespaces"].append({"type": "user"})


def terminal(config: dict[str, Any]) -> None:
    config["process"]["terminal"] = True


PROVOKED: dict[str, Provoke] = {
    "chdir …: no such file or directory": run_of("-b", "/nowhere", "x"),
    "JSON specification file config.json not found": run_of("x"),
    "flag provided but not defined: -ti": run_of("-ti", "busybox"),
    "config.json: line …, column …": with_broken_json,
    "/root/path: invalid rootfs": with_config(lambda config: config["root"].update(path="no")),
    "no uid mappings found": with_config(userns),
    "rootless container requires user namespaces": as_an_ordinary_user,
    "apparmor is disabled or not supported": with_config(
        lambda config: config["process"].update(apparmorProfile="docker-default")
    ),
    "executable file not found in $PATH": with_args("nosuch"),
    "its interpreter … is not there": with_script(0o755),
    "permission denied": with_script(0o644),
    "cannot allocate tty if ocirun will detach without setting console socket": with_config(
        terminal, verb="create"
    ),
    'mounting "…" to rootfs at "…": no such file or directory': with_mount(
        destination="/data", source="/nowhere", options=["bind"]
    ),
    'this kernel knows no file system ""': with_mount(destination="/data", source="/tmp"),
    "unable to set memory limit to … (current usage: …)": with_linux(
        resources={"memory": {"limit": 4096}}
    ),
    "(the cgroup above has …)": with_linux(resources={"cpu": {"cpus": "900"}}),
    "systemd is not the init system of this host": lambda container: container.runtime.call(
        "--systemd-cgroup",
        "run",
        "-b",
        container.bundle.path,
        container.id,
        bundle=container.bundle,
    ),
    "container with given ID already exists": when("created", "run", "ID"),
    "container does not exist": lambda container: container.runtime.call("state", container.id),
    "cannot start an already running container": when("running", "start", "ID"),
    "cannot delete container … that is not stopped": when("running", "delete", "ID"),
    "cannot exec in a stopped container": when("stopped", "exec", "ID", "true"),
    "container not running": when("stopped", "kill", "ID", "KILL"),
}


def test_every_sentence_of_the_page_is_provoked() -> None:
    assert list(PROVOKED) == SENTENCES


@needs("ours", "cgroup memory", "cgroup cpuset")
@pytest.mark.parametrize("sentence", PROVOKED)
def test_the_sentence_is_said(box: Box, sentence: str) -> None:
    if "apparmor" in sentence and has_apparmor():
        pytest.skip("this host has AppArmor")
    if "systemd" in sentence and has_systemd():
        pytest.skip("this host has systemd")
    result = PROVOKED[sentence](box.container())
    assert result.status != 0
    assert re.search(pattern(sentence), result.said), result.story(with_config=False)
