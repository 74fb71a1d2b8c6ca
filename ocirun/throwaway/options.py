"""The options of `ocirun try`."""

from __future__ import annotations


class TryOptions:
    """The flags of try; paths are absolute.

    `root` is the root directory to show, "" for this machine's own file system. `memory` is in
    bytes, `cpus` in CPUs; 0 is no limit. `volumes` are (source, destination, is read-only).
    `network` is "none", "host", "user" or "cni:NAME". `keep` is the directory that keeps writes, ""
    for none. `filters_calls`: with the default seccomp profile.
    """

    __slots__ = (
        "args",
        "cpus",
        "cwd",
        "env",
        "filters_calls",
        "keep",
        "memory",
        "network",
        "root",
        "shows_changes",
        "terminal",
        "user",
        "volumes",
    )

    def __init__(
        self,
        args: list[str],
        *,
        root: str = "",
        memory: int = 0,
        cpus: float = 0.0,
        volumes: tuple[tuple[str, str, bool], ...] = (),
        env: tuple[str, ...] = (),
        cwd: str = "/",
        user: str = "",
        network: str = "none",
        terminal: bool = False,
        keep: str = "",
        shows_changes: bool = False,
        filters_calls: bool = True,
    ) -> None:
        self.args = args
        self.root = root
        self.memory = memory
        self.cpus = cpus
        self.volumes = volumes
        self.env = env
        self.cwd = cwd
        self.user = user
        self.network = network
        self.terminal = terminal
        self.keep = keep
        self.shows_changes = shows_changes
        self.filters_calls = filters_calls
