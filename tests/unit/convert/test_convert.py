"""Bundles, LXC configurations and container.json, each as another.

Source: docs/convert.md; lxc.container.conf(5).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.machine import REPO
from hypothesis import given, settings
from hypothesis import strategies as st

from ocirun.cli.launcher import act
from ocirun.convert.document import Rest
from ocirun.convert.formats import format_of
from ocirun.convert.libcontainer import read_container_json, write_container_json
from ocirun.convert.lxc_read import read_lxc
from ocirun.convert.lxc_write import write_lxc
from ocirun.errors import UsageError
from ocirun.spec import NETWORKS
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.default import default_config
from ocirun.spec.load import conforms

DATA = REPO / "tests" / "data" / "ancestors"

# Both files are of Docker 0.11.1.
OLD_LXC = DATA / "docker.lxc"
OLD_JSON = DATA / "container.json"

text = st.text(st.characters(codec="ascii", min_codepoint=33, max_codepoint=126), min_size=1)
name = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
spaced = st.from_regex(r"[a-z0-9./=\"#\\ -]{0,12}", fullmatch=True)
path = st.from_regex(r"(/[a-z0-9 \\]{1,8}){1,3}", fullmatch=True)
number = st.integers(1, 2**31)
capabilities = st.lists(st.sampled_from(sorted(CAPABILITIES)), unique=True).map(sorted)


def sets(names: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(("bounding", "effective", "permitted"), names)


@st.composite
def documents(draw: st.DrawFn, *, lxc: bool) -> dict[str, Any]:
    """What OCI and the other format can both say."""
    process = {
        "user": {"uid": draw(number), "gid": draw(number)},
        "cwd": draw(name.map("/{}".format)),
        "env": draw(st.lists(st.builds("{}={}".format, name, text), min_size=1, max_size=3)),
        "capabilities": sets(draw(capabilities)),
        "apparmorProfile": draw(name),
        "selinuxLabel": draw(name),
    }
    kinds = ["ipc", "mount", "network", "pid", "uts", "user"] + (["cgroup"] if lxc else [])
    resources: dict[str, Any] = {
        "memory": {"limit": draw(number), "swap": draw(number), "reservation": draw(number)},
        "cpu": {"shares": draw(number), "quota": draw(number), "period": draw(number)},
    }
    resources["cpu"]["cpus"] = "0-3,7"
    linux: dict[str, Any] = {"resources": resources}
    config = {
        "ociVersion": "1.3.0",
        "process": process,
        "root": {"path": "/srv/root", "readonly": True},
        "hostname": draw(name),
        "linux": linux,
    }
    types = draw(st.lists(st.sampled_from(kinds), unique=True, min_size=1))
    if lxc:
        process["args"] = draw(st.lists(spaced, min_size=1, max_size=3))
        process["noNewPrivileges"] = True
        process["oomScoreAdj"] = draw(st.integers(-1000, 1000))
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": draw(number), "hard": 2**64 - 1}]
        linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
        linux["uidMappings"] = [{"containerID": 0, "hostID": draw(number), "size": draw(number)}]
        types += [] if "user" in types else ["user"]
        kind = st.sampled_from(["tmpfs", "proc", "none"])
        entry = st.builds(
            lambda at, what, of: {
                "destination": at, "type": of, "source": what, "options": ["ro", "nosuid"],
            },
            path, path, kind,
        )  # fmt: skip
        config["mounts"] = draw(st.lists(entry, max_size=3))
        resources["devices"] = [
            {"allow": False, "type": "a", "access": "rwm"},
            {"allow": True, "type": "c", "major": draw(number), "access": "rw"},
        ]
        resources["pids"] = {"limit": draw(number)}
    else:
        process["args"] = ["sh"]
        process["terminal"] = True
        linux["cgroupsPath"] = f"/{draw(name)}/{draw(name)}"
        defaults = default_config()
        for member in ("maskedPaths", "readonlyPaths"):
            linux[member] = defaults["linux"][member]  # type: ignore[literal-required]
        system = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/sys")
        bind = st.builds(
            lambda at, what, mode: {
                "destination": at, "type": "bind", "source": what,
                "options": ["rbind", mode, "rprivate"],
            },
            path, path, st.sampled_from(["ro", "rw"]),
        )  # fmt: skip
        config["mounts"] = [
            *(one for one in defaults["mounts"] if one["destination"] in system),
            *draw(st.lists(bind, max_size=3)),
        ]
        resources["devices"] = [{"allow": draw(st.booleans()), "access": "rwm"}]
        types.sort(key=["ipc", "network", "mount", "pid", "user", "uts"].index)
    linux["namespaces"] = [{"type": one} for one in types]
    return config


@settings(max_examples=100, deadline=None)
@given(documents(lxc=True))
def test_what_lxc_can_say_comes_back(config: dict[str, Any]) -> None:
    said, left = write_lxc(config, cgroup_v2=False, old_keys=False)
    assert left == []
    back, left = read_lxc(said)
    assert left == []
    assert back == config


@settings(max_examples=100, deadline=None)
@given(documents(lxc=False))
def test_what_container_json_can_say_comes_back(config: dict[str, Any]) -> None:
    said, left = write_container_json(config)
    assert left == ["process.args"]
    back, left = read_container_json(json.loads(json.dumps(said)), "/srv/root")
    assert left == []
    assert back == config


def test_the_limits_of_v2_come_back() -> None:
    limits = {"memory": {"limit": 5, "reservation": 3}, "pids": {"limit": -1}}
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "/r"},
        "linux": {"namespaces": [{"type": "mount"}], "resources": dict(limits)},
    }
    config["linux"]["resources"] |= {"unified": {"memory.high": "4"}}  # type: ignore[index]
    said, left = write_lxc(config, cgroup_v2=True, old_keys=False)
    assert left == []
    assert "lxc.cgroup2.pids.max = max\n" in said
    assert read_lxc(said)[0]["linux"] == config["linux"]  # type: ignore[index]


def test_what_is_left_of_a_default_bundle_is_named() -> None:
    config: dict[str, Any] = dict(default_config(cgroup_v2=True))
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    config["hooks"] = {"poststop": [{"path": "/bin/true"}]}
    assert write_lxc(config, cgroup_v2=False, old_keys=False)[1] == [
        "hooks.poststop",
        "linux.maskedPaths",
        "linux.readonlyPaths",
        "linux.seccomp.defaultAction",
        "process.terminal",
    ]
    assert write_container_json(config)[1] == [
        "hooks.poststop",
        "linux.namespaces",
        "linux.seccomp.defaultAction",
        "mounts",
        "process.args",
        "process.noNewPrivileges",
        "process.rlimits",
    ]


def test_a_configuration_of_docker_is_read_by_its_old_keys() -> None:
    config, left = read_lxc(OLD_LXC.read_text())
    assert conforms(config, "config")
    assert config["root"]["path"].startswith("/var/lib/docker/containers/5c75")
    assert [one["destination"] for one in config["mounts"]][-4:] == [
        "/sys", "/dev/console", "/dev/pts", "/dev/shm",
    ]  # fmt: skip
    assert config["linux"]["resources"]["devices"][:2] == [
        {"allow": False, "type": "a", "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    ]
    assert left == [
        "lxc.pts = 1024",
        "lxc.console = none",
        "lxc.tty = 1",
        "lxc.pivotdir = lxc_putold",
        "lxc.network.type = veth",  # without an address, and not up
        "lxc.network.link = docker0",
        "lxc.network.name = eth0",
        "lxc.network.mtu = 1500",
    ]


def test_a_container_json_of_docker_is_read() -> None:
    config, left = read_container_json(json.loads(OLD_JSON.read_text()), "/srv/redis")
    assert conforms(config, "config")
    assert config["hostname"] == "236cd8e98911"
    assert "CAP_SYS_ADMIN" not in config["process"]["capabilities"]["bounding"]
    assert "CAP_MKNOD" in config["process"]["capabilities"]["bounding"]
    assert config["linux"]["cgroupsPath"].startswith("/docker/236cd8e98911")
    assert config["mounts"][-1]["options"] == ["rbind", "rw"]
    assert config["mounts"][-2]["options"] == ["rbind", "ro", "rprivate"]
    networks = json.loads(config["annotations"][NETWORKS])
    assert [network["address"] for network in networks] == ["172.17.0.2/16"]
    assert left == []


def test_old_keys_are_written_on_request() -> None:
    config = {"hostname": "web", "root": {"path": "/r"}, "process": {"noNewPrivileges": True}}
    config["linux"] = {"namespaces": [{"type": "mount"}]}
    said, left = write_lxc(config, cgroup_v2=False, old_keys=True)
    assert said.splitlines()[:2] == ["lxc.rootfs = /r", "lxc.utsname = web"]
    assert left == ["lxc.namespace.clone: no old key", "lxc.no_new_privs: no old key"]


@pytest.mark.parametrize("value", ["a\nlxc.hook.start = /x", " a", ""])
def test_no_value_becomes_another_line(value: str) -> None:
    config = {"hostname": "h", "process": {"env": [value]}, "root": {"path": "/r"}}
    config["linux"] = {"namespaces": [{"type": "mount"}]}
    said, left = write_lxc(config, cgroup_v2=False, old_keys=False)
    assert "hook" not in said
    assert len(left) == 1
    assert left[0].startswith("lxc.environment: ")


def test_a_word_with_a_single_quote_is_left() -> None:
    config = {"process": {"args": ["sh", "-c", "echo '"]}, "root": {"path": "/r"}, "linux": {}}
    assert "process.args" in write_lxc(config, cgroup_v2=False, old_keys=False)[1]


@pytest.mark.parametrize(
    "line",
    [
        "no equals",
        "lxc.cap.drop = no_such",
        "lxc.idmap = u 0",
        "lxc.init.uid = x",
        "lxc.mount.entry = proc",
        "lxc.cgroup.memory.limit_in_bytes = 5Q",
        "lxc.cgroup.devices.allow = c 1:2:3 r",
        "lxc.prlimit.nofile = many",
        "lxc.init.cmd = 'open",
        "lxc.namespace.clone = nosuch",
        "lxc.namespace.share.nosuch = /proc/1/ns/net",
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(line: str) -> None:
    with pytest.raises(UsageError, match="line 2: "):
        read_lxc(f"lxc.uts.name = x\n{line}\n")


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("container.json", "libcontainer"),
        ("/var/lib/lxc/web/config", "lxc"),
        ("web.conf", "lxc"),
        ("box/config.json", "oci"),
        ("box", "oci"),
    ],
)
def test_a_name_tells_the_format(file: str, form: str) -> None:
    assert format_of(file) == form


def test_a_name_that_tells_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--from or --to"):
        format_of("web.yaml")


def test_what_is_left_has_dotted_names() -> None:
    rest = Rest({"a": {"b": 1, "c": {"d": [], "e": 0}}, "f": False, "g": None})
    assert rest.take("a", "b") == 1
    assert rest.take("x", "y") is None
    assert rest.names() == ["a.c.e"]


def test_the_verb_converts_and_lists(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "web"
    words = ["convert", "--rootfs", "/srv/redis"]
    assert act([*words, str(OLD_JSON), str(target)]) == 0
    assert json.loads((target / "config.json").read_text())["root"]["path"] == "/srv/redis"
    assert capfd.readouterr().out.splitlines() == [
        "no counterpart: process.args is sh: a container.json names no program",
    ]
    assert act([*words, str(OLD_JSON), str(target)]) == 1
    assert "exists" in capfd.readouterr().err


def test_strict_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "web"
    assert act(["convert", "--strict", "--cgroups", "v1", str(OLD_LXC), str(target)]) == 1
    assert "lxc.pivotdir = lxc_putold" in capfd.readouterr().out
    assert not target.exists()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("[]", "a container.json is a JSON object"),
        ('{"namespaces": [1]}', "is no container.json"),
        ('{"mounts": [{"type": "bind"}]}', "is no container.json"),
        ('{"user": 5}', "is no container.json"),
        ('{"hostname": 5}', "no valid config.json"),
        ("{", "container.json"),
    ],
)
def test_a_wrong_container_json_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], document: str, sentence: str
) -> None:
    (tmp_path / "container.json").write_text(document)
    words = ["convert", "--rootfs", "/r", str(tmp_path / "container.json"), str(tmp_path / "b")]
    assert act(words) == 1
    error = capfd.readouterr().err
    assert sentence in error
    assert "internal error" not in error
