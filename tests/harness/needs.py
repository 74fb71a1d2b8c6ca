"""What a test needs of the machine: `@needs("root", "cgroup v1", kernel=(5, 12))`.

A need that is not met skips the test with the machine's own reason. In continuous integration a
skip must be one of `KNOWN_SKIPS`; any other skip is a failure (see conftest.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from harness import machine

# Words of their own: how it is found out, and the reason where it is not so.
PLAIN: dict[str, tuple[Callable[[], object], str]] = {
    "root": (lambda: os.geteuid() == 0, "not root"),
    "userns": (machine.has_user_namespaces, "no user namespaces"),
    "systemd": (machine.has_systemd, "systemd is not the init of this machine"),
    "user manager": (machine.managed_user, "no user's systemd runs here"),
    "apparmor": (machine.has_apparmor, "no AppArmor"),
    "delegated": (machine.has_delegated_cgroup, "no delegated cgroup"),
    "machines": (machine.has_machines, "no QEMU and kernel for machines"),
}
CAPABILITIES = {"CAP_SYS_RESOURCE": 24, "CAP_SYS_TIME": 25, "CAP_MKNOD": 27}

# Skips that are right where they happen: the beginning of the reason, and why it is so.
KNOWN_SKIPS = {
    "no CAP_SYS_RESOURCE": "development machines and unprivileged outer containers drop it",
    "no delegated cgroup": "for an ordinary user below its own systemd: make lab USER=u1",
    "no AppArmor": "few kernels load it; the lab's does",
    "no cgroup v1 hierarchy": "a v2 machine; the v1 tests run on a v1 or hybrid one",
    "no cgroup v2 controllers": "a v1 or hybrid machine; the v2 tests run in the lab",
    "the hugetlb hierarchy is not mounted": "not every v1 machine has it",
    "the net_cls hierarchy is not mounted": "not every v1 machine has it",
    "this kernel has no ": "a cgroup file that came with a later kernel, or an option left out",
    "no cgroup ": "a controller that is not there, or not of that version",
    "no overlay of the install": "overlays may be stacked too deep already",
    "no /dev/fuse on this machine": "a device for a test to look at",
    "this machine does not start ": "a client's daemon, before any runtime is called",
    "this machine has no block device": "throttling needs one",
    "this host has ": "what is missing elsewhere is there, and another test is about that",
    "one cpu only": "nothing to choose from",
    "no id-mapped mounts on": "tmpfs before 6.3, overlay: the file system under /tmp decides",
    "this Python cannot be started from a snapshot": "docs/fast-start.md names those that can",
    "no CNI plugins": "not packaged for every distribution",
    "no tool shellcheck": "optional linter",
    "no tool pasta": "Debian's package passt is not in every mirror",
    "no tool slirp4netns": "not packaged for every distribution",
    "no tool chromium": "a browser looks at the page of trace view, where one is installed",
    "no tool lxc-start": "not packaged for every distribution",
    "no tool tmux": "tools/prepare installs it where there is apt-get",
    "no tool curl": "tools/prepare installs it; the lab has none",
    "CRITEST is not set": "tests/clients: the CRI's validation suite needs its program and images",
    "KUBELET is not set": "tests/clients: Debian has no kubelet and no CRI-O",
    "RUNTIME_TOOLS is not set": "the conformance suite needs a checkout of runtime-tools",
    "the runtime has no verb ": "tests/clients: what a client asks for and ocirun cannot do yet",
    "no runtime-spec": "the reference schemas are fetched, which needs a network",
    "no mirror of Debian answers": "tests/deb installs a bare Debian",
    "no working criu on this machine": "kernels and outer containers that it cannot work with",
    "no tool buildx": "a docker command newer than Debian's builds with a plugin",
    "no podman here": "its own profile is read where it is installed",
    "this kernel runs no 32-bit programs": "CONFIG_IA32_EMULATION may be off",
    "criu does not work here: ": "3.17 finds no vDSO on kernels from 6.13 on; the lab has it",
    "no tool criu": "not packaged for every distribution",
    "no tool iptables": "tools/prepare installs it for the clients",
    "systemd is not": "the machine's own init; the tests of its cgroups run in the lab",
    "no user's systemd": "an ordinary user whose own manager runs; the lab has one",
    "no QEMU and kernel for machines": "QEMU is not installed, or `make vm` was not called",
    "with OCIRUN_BARS=full: it boots": "a boot takes seconds; make bars",
    "this is not about ": "a test of one runtime while another one is under test",
}


def needs(*words: str, kernel: tuple[int, int] | None = None) -> pytest.MarkDecorator:
    """Skip the test unless the machine has each of `words` and at least this kernel.

    Words: `root`, `cgroup v1`, `cgroup v2`, `cgroup CONTROLLER`, `tool NAME`, `userns`,
    `CAP_NAME`, `systemd` (as pid 1), `user manager`, `apparmor`, `criu` (one that works on this
    kernel), `criu FEATURE` (as criu-check(8) names it), `delegated` (we are an ordinary user with
    a cgroup of its own), `ours` (the runtime under test is ocirun).
    """
    return pytest.mark.needs(*words, kernel=kernel)


def missing(word: str) -> str | None:  # a table in the form of code
    """Return what the machine lacks for one word, None when nothing.

    Raises:
        ValueError: nobody knows the word; a typo must not become a test that never runs.
    """
    kind, _, name = word.partition(" ")
    if word in PLAIN:
        is_there, reason = PLAIN[word]
        return None if is_there() else reason
    if kind == "criu":
        return machine.lack_of_criu() or (machine.lack_of_criu_feature(name) if name else None)
    if kind == "tool":
        return None if machine.has_tool(name) else f"no tool {name}"
    if kind in CAPABILITIES:
        has = machine.capability_bounding() >> CAPABILITIES[kind] & 1
        return None if has else f"no {kind}"
    if kind == "cgroup":
        return _missing_cgroup(name)
    raise ValueError(f"unknown need: {word!r}")


def _missing_cgroup(name: str) -> str | None:
    trees = machine.cgroup_hierarchies()
    unified = trees.pop("", None)
    if name == "v1":
        return None if "memory" in trees or "cpu" in trees else "no cgroup v1 hierarchy"
    on_v2 = (unified / "cgroup.controllers").read_text().split() if unified is not None else []
    if name == "v2":
        return None if "memory" in on_v2 else "no cgroup v2 controllers"
    # Kernel: v2 freezes and filters devices without a controller.
    if name in trees or name in on_v2 or ("memory" in on_v2 and name in ("devices", "freezer")):
        return None
    return f"no cgroup controller {name}"


def check_needs(item: pytest.Item, runtime_name: str) -> None:
    """Skip `item` when one of its needs is not met."""
    for mark in item.iter_markers("needs"):
        wanted = mark.kwargs.get("kernel")
        if wanted and machine.kernel_version() < wanted:
            pytest.skip(
                "kernel {}.{} is older than {}.{}".format(*machine.kernel_version(), *wanted)
            )
        for word in mark.args:
            reason = missing(word) if word != "ours" else None
            if word == "ours" and runtime_name != "ours":
                reason = f"this is not about {runtime_name}"
            if reason:
                pytest.skip(reason)


def asks_for(item: pytest.Item, word: str) -> bool:
    """Return whether `word` is among the test's needs."""
    return any(word in mark.args for mark in item.iter_markers("needs"))


def is_known_skip(reason: str) -> bool:
    return any(reason.startswith(start) for start in KNOWN_SKIPS)
