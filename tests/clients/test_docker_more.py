"""What is built around the Docker engine: networks, builders, compose, its own restart."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from harness.machine import has_tool

from clients.calls import Outcome, call, wait_until
from clients.docker import IMAGE, Docker, Engine

SERVE = ("sh", "-c", "while :; do echo hello | nc -l -p 8080; done")
BUILD = f"""\
FROM {IMAGE}
RUN echo built >/made
RUN ["/bin/sh", "-c", "touch /second"]
USER 2
RUN test "$(id -u)" = 2
"""
COMPOSE = """\
version: "2.4"
services:
  web:
    image: busybox
    runtime: {runtime}
    command: ["sh", "-c", "while :; do echo hello | nc -l -p 8080; done"]
    healthcheck: {{test: ["CMD", "test", "-e", "/bin/sh"], interval: 1s}}
    mem_limit: 64m
    volumes: ["data:/data"]
  client:
    image: busybox
    runtime: {runtime}
    depends_on: {{web: {{condition: service_healthy}}}}
    command: ["sh", "-c", "nc web 8080 >/data/said; echo done; sleep 1000"]
    volumes: ["data:/data"]
volumes: {{data: }}
"""


def test_bridge(docker: Docker) -> None:
    """libnetwork moves the interface in by a prestart hook of its own."""
    done = docker.run("ls", "/sys/class/net", options=("--network", "bridge")).expect()
    assert done.out.split() == ["eth0", "lo"]


def test_container_to_container(docker: Docker) -> None:
    name = docker.start(*SERVE, options=("--network", "bridge"))
    address = docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name).expect().out.strip()
    done = docker.run("nc", address, "8080", options=("--network", "bridge"))
    assert done.expect().out == "hello\n"


def test_published_port(docker: Docker) -> None:
    name = docker.start(*SERVE, options=("--network", "bridge", "-p", "127.0.0.1::8080"))
    address, _, port = docker("port", name, "8080/tcp").expect().out.strip().rpartition(":")
    with socket.create_connection((address, int(port)), 10) as connection:
        assert connection.recv(100) == b"hello\n"


def test_names_on_a_network_of_ones_own(docker: Docker) -> None:
    network = f"{docker.prefix}-net"
    docker("network", "create", network).expect()
    name = docker.start(*SERVE, options=("--network", network))
    done = docker.run("nc", name, "8080", options=("--network", network))
    docker("rm", "-f", name).expect()
    docker("network", "rm", network).expect()
    assert done.expect().out == "hello\n"


def test_connected_later(docker: Docker) -> None:
    network = f"{docker.prefix}-net"
    docker("network", "create", network).expect()
    name = docker.start(options=("--network", "bridge"))
    docker("network", "connect", network, name).expect()
    shown = docker("exec", name, "ls", "/sys/class/net").expect().out.split()
    docker("rm", "-f", name).expect()
    docker("network", "rm", network).expect()
    assert shown == ["eth0", "eth1", "lo"]


def test_shared_network(docker: Docker) -> None:
    name = docker.start(*SERVE, options=("--network", "bridge"))
    done = docker.run("nc", "127.0.0.1", "8080", options=("--network", f"container:{name}"))
    assert done.expect().out == "hello\n"


def test_restart_always(docker: Docker) -> None:
    name = docker.start(options=("--restart", "always"))
    pid = docker.state(name, "Pid")
    os.kill(int(pid), 9)
    wait_until(lambda: docker.state(name, "Pid") not in (pid, "0"), "the next life")
    docker("stop", "-t", "0", name).expect()  # which ends the policy
    assert docker.state(name) == "exited"


def test_restart_of_a_program_that_the_kernel_refuses(docker: Docker) -> None:
    name = docker.start("/bin/garbage", options=("--restart", "on-failure:2"))
    count = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}", name)
    wait_until(lambda: docker(*count).out == "2 exited 1\n", "two restarts")
    lines = docker("logs", name).expect().err.splitlines()
    # Ours says why behind the kernel's word.
    assert [line[:36] for line in lines] == ["exec /bin/garbage: exec format error"] * 3


def test_restarted_daemon_finds_the_container(docker: Docker) -> None:
    """With live-restore the shim and its container go on without dockerd and containerd."""
    name = docker.start("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")
    pid = docker.state(name, "Pid")
    docker.engine.restart()
    assert docker.state(name, "Pid") == pid
    docker("exec", name, "true").expect()
    docker("stop", "-t", "10", name).expect()
    assert docker.state(name, "ExitCode") == "5"


def test_keeps_its_runtime(docker: Docker) -> None:
    """A container belongs to its runtime: stopping and starting does not change it."""
    name = docker.start()
    docker("restart", "-t", "0", name).expect()
    done = docker("inspect", "-f", "{{.HostConfig.Runtime}}", name).expect()
    assert done.out.strip() == docker.runtime


def test_classic_builder(docker: Docker, tmp_path: Path) -> None:
    """The classic builder has the daemon's default runtime; so this is about ocirun alone."""
    if docker.runtime != "ocirun":
        pytest.skip("this is not about runc")
    (tmp_path / "Dockerfile").write_text(BUILD)
    words = ("build", "--network", "none", "-t", docker.prefix, tmp_path)
    docker.engine.docker(*words, env={"DOCKER_BUILDKIT": "0"}).expect()
    done = docker("run", "--rm", "--network", "none", docker.prefix, "cat", "/made")
    docker("rmi", docker.prefix).expect()
    assert done.expect().out == "built\n"


def test_buildkit(builder: Engine, runtime: str, tmp_path: Path) -> None:
    def build(*lines: str) -> Outcome:
        (tmp_path / "Dockerfile").write_text("\n".join((BUILD, *lines)))
        words = ("--progress", "plain", "--no-cache", "--network", "none", "-t", "buildkit")
        return builder.docker("build", *words, tmp_path, env={"DOCKER_BUILDKIT": "1"})

    done = build()
    if "buildx component is missing" in done.err:
        pytest.skip("no tool buildx")
    done.expect()
    run = ("run", "--rm", "--network", "none", "buildkit")
    done = builder.docker(*run, "sh", "-c", "cat /made; ls -d /second; id -u")
    builder.docker("rmi", "buildkit").expect()
    assert done.expect().out == "built\n/second\n2\n"
    assert "exit code: 7" in build("RUN exit 7").expect(1).err
    # Whose words these are says who was called.
    assert f"{Path(runtime).name} run failed: unable to start container process: exec: " in (
        build('RUN ["nosuch"]').expect(1).err
    )


def test_default_name_is_ours(engine_without_runc: Engine) -> None:
    """An engine that knows only runc, and finds ocirun under that name."""
    run = ("run", "--rm", "--runtime", "runc", "--network", "none", IMAGE)
    engine_without_runc.docker(*run, "sh", "-c", "exit 7").expect(7)
    done = engine_without_runc.docker(*run, "nosuch").expect(127)
    assert "ocirun create failed" in done.err


def test_compose(docker: Docker, tmp_path: Path) -> None:
    if not has_tool("docker-compose"):
        pytest.skip("no tool docker-compose")
    project = tmp_path / f"{docker.prefix}.yml"
    project.write_text(COMPOSE.format(runtime=docker.runtime))
    env = {"DOCKER_HOST": docker.engine.socket}

    def compose(*words: str) -> str:
        command = ("docker-compose", "-f", project, "-p", docker.prefix, *words)
        return call(*command, env=env).expect().said

    try:
        compose("up", "-d")
        wait_until(lambda: "done" in compose("logs", "client"), "the client's word")
        assert compose("exec", "-T", "web", "cat", "/data/said") == "hello\n"
        name = compose("ps", "-q", "web").split()[0]
        settings = json.loads(docker("inspect", name).expect().out)[0]["HostConfig"]
        assert (settings["Runtime"], settings["Memory"]) == (docker.runtime, 64 << 20)
        compose("restart", "-t", "0", "web")
        compose("stop", "-t", "0")
    finally:
        compose("down", "-v", "-t", "0")
