"""One way to ask any client for a container that will not be what was hoped for."""

from __future__ import annotations

from typing import Any

import grpc

from clients.calls import Outcome
from clients.containerd import Ctr
from clients.cri import Pod
from clients.docker import Docker
from clients.mistakes import NO_CONTAINER
from clients.podman import Podman


class Asker:
    """A client, with one runtime; `settings` of `run` are the client's own words.

    `runtime` is its path, `client` its name in the table of docs/clients-outcomes.md.
    """

    client = ""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime

    def run(self, *command: str, settings: Any = ()) -> Outcome:
        """Run a container to its end; `out` and `err` have what a user gets to see."""
        raise NotImplementedError

    def exec(self, *command: str) -> Outcome:
        """Run a command in a container that is there."""
        raise NotImplementedError


class AskCtr(Asker):
    """ctr, next to containerd."""

    client = "ctr"

    def __init__(self, ctr: Ctr) -> None:
        super().__init__(ctr.runtime)
        self._ctr = ctr

    def run(self, *command: str, settings: Any = ()) -> Outcome:
        return self._ctr.run(*command, options=("--rm", *settings))

    def exec(self, *command: str) -> Outcome:
        return self._ctr.exec(self._ctr.start(), *command)


class AskPodman(Asker):
    """podman with conmon."""

    client = "podman"

    def __init__(self, podman: Podman) -> None:
        super().__init__(podman.runtime)
        self._podman = podman

    def run(self, *command: str, settings: Any = ()) -> Outcome:
        """What a program that ends at once has said may be in the log only, now and then."""
        name = f"{self._podman.prefix}-asked"
        done = self._podman.run(*command, options=settings, kept=name)
        said = done.err or self._podman("logs", name).err
        self._podman("rm", "-f", "-t", "0", "-i", name).expect()
        return done._replace(err=said)

    def exec(self, *command: str) -> Outcome:
        return self._podman("exec", self._podman.start(), *command)


class AskDocker(Asker):
    """docker, its daemon, and containerd below."""

    client = "docker"

    def __init__(self, docker: Docker) -> None:
        super().__init__(docker.path)
        self._docker = docker

    def run(self, *command: str, settings: Any = ()) -> Outcome:
        return self._docker.run(*command, options=settings)

    def exec(self, *command: str) -> Outcome:
        return self._docker("exec", self._docker.start(), *command)


class AskCri(Asker):
    """The CRI: an error of the call is what the kubelet makes an event of."""

    client = "cri"

    def __init__(self, pod: Pod) -> None:
        super().__init__(pod.runtime)
        self._pod = pod

    def run(self, *command: str, settings: Any = ()) -> Outcome:
        try:
            container = self._pod.start(*command, **dict(settings))
        except grpc.RpcError as error:
            return Outcome(NO_CONTAINER, "", error.details())
        code = container.wait()
        return Outcome(code, container.log(), container.log("stderr"))

    def exec(self, *command: str) -> Outcome:
        container = self._pod.start()
        try:
            return container.exec(*command)
        except grpc.RpcError as error:
            return Outcome(NO_CONTAINER, "", error.details())
