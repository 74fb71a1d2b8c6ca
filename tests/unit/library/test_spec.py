"""`ocirun.Spec` builds the plain dict of the specification.

Source: docs/library.md#spec; runtime-spec config.md, config-linux.md.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.library.spec import Spec, size_of

LOOP: list[dict[str, Any]] = [{}]
LOOP[0]["in itself"] = LOOP


def test_keywords_and_methods_build_the_same(tmp_path: Path) -> None:
    one = Spec(
        ["id"], tmp_path, env={"A": "b"}, cwd="/tmp", user=(7, 8), hostname="h", readonly=False,
        mounts=["/tmp"], memory="256M", swap="1G", cpus=1.5, pids=100, network="none",
        capabilities=["KILL"], seccomp="default", annotations={"a": "b"},
    ).build()  # fmt: skip
    chained = Spec().args(["id"]).rootfs(tmp_path).env({"A": "b"}).cwd("/tmp").user("7:8")
    chained.hostname("h").readonly(False).mounts("/tmp").memory(256 << 20).swap("1GiB").cpus(1.5)
    chained.pids(100).network("none").capabilities(["CAP_KILL"]).seccomp("default")
    assert chained.annotations({"a": "b"}).build() == one
    assert one["linux"]["resources"]["memory"] == {"limit": 256 << 20, "swap": 1 << 30}
    assert one["linux"]["resources"]["cpu"] == {"quota": 150_000, "period": 100_000}
    assert one["linux"]["resources"]["pids"] == {"limit": 100}
    assert one["process"]["user"] == {"uid": 7, "gid": 8}


def test_everything_in_it_is_valid(tmp_path: Path) -> None:
    full = Spec(["id"], tmp_path, memory="1G", cpus=0.5, pids=1, seccomp="default", mounts=["/x"])
    assert full.validate() is full
    with pytest.raises(SpecError, match="/root/path"):
        Spec(["id"], tmp_path / "none").validate()


def test_what_is_built_is_the_callers(tmp_path: Path) -> None:
    spec = Spec(["id"], tmp_path)
    config = spec.build()
    config["process"]["args"].append("-u")
    config["linux"]["namespaces"].clear()
    assert spec.build()["process"]["args"] == ["id"]
    assert Spec(["id"], tmp_path).build() == spec.build()


def test_a_relative_root_begins_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Spec(["id"], "image").build()["root"]["path"] == f"{tmp_path}/image"
    [mount] = [m for m in Spec().mounts(("data", "/data")).build()["mounts"] if "rbind" in
               m.get("options", ())]  # fmt: skip
    assert (mount["source"], mount["destination"]) == (f"{tmp_path}/data", "/data")


def test_variables_replace_those_of_the_same_name() -> None:
    env = Spec().env({"PATH": "/bin", "A": ""}).env({"A": "b"}).build()["process"]["env"]
    assert sorted(env) == ["A=b", "PATH=/bin", "TERM=xterm"]


def test_the_network_of_the_host() -> None:
    def kinds(spec: Spec) -> list[str]:
        return [one["type"] for one in spec.build()["linux"]["namespaces"]]

    assert "network" in kinds(Spec())
    assert "network" not in kinds(Spec(network="host"))
    assert "network" in kinds(Spec(network="host").network("none"))


@pytest.mark.parametrize(
    ("network", "entries"),
    [
        ("user", [{"type": "user"}]),
        ("cni:front", [{"type": "cni", "name": "front"}]),
        ([{"type": "veth", "bridge": "b"}], [{"type": "veth", "bridge": "b"}]),
    ],
)
def test_networks_are_those_of_the_annotation(
    network: Any,  # noqa: ANN401
    entries: list[dict[str, str]],
) -> None:
    spec = Spec(network=network, annotations={"a": "b"})
    annotations = spec.build()["annotations"]
    assert json.loads(annotations.pop("org.ocirun.networks")) == entries
    assert annotations == {"a": "b"} == spec.network("host").build()["annotations"]


@pytest.mark.parametrize("network", ["bridge", "cni:", "cni", "", "user:x"])
def test_a_network_that_is_unknown(network: str) -> None:
    with pytest.raises(ValueError, match="network must be"):
        Spec(network=network)


@pytest.mark.parametrize("network", [7, ["user"], {"type": "user"}, [{"type": object()}], LOOP])
def test_a_network_that_is_no_list_of_objects(network: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="network"):
        Spec(network=network)


def test_mounts_are_tuples_paths_or_documents() -> None:
    document: dict[str, Any] = {"destination": "/c", "type": "tmpfs", "source": "tmpfs"}
    mounts = Spec(mounts=[("/a", "/b", "ro,nosuid"), "/tmp", document]).build()["mounts"][-3:]
    assert mounts[0]["options"] == ["rbind", "ro", "nosuid"]
    assert (mounts[1]["type"], mounts[1]["destination"]) == ("tmpfs", "/tmp")
    assert mounts[2] == document


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("2k", 2048), ("256M", 256 << 20), ("1.5G", None), ("", None),
                       ("M", None), ("-1", None), ("0", None), (0, None), (5, 5)]
)  # fmt: skip
def test_sizes_have_units_of_1024(text: str | int, size: int | None) -> None:
    if size is None:
        with pytest.raises(ValueError, match="memory must be"):
            size_of(text, "memory")
    else:
        assert size_of(text, "memory") == size


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"args": "id"}, "args must be a list of strings"),
        ({"args": [1]}, "args must be a list of strings, not of int"),
        ({"rootfs": 7}, "rootfs must be a path"),
        ({"rootfs": os.fsencode("/")}, "rootfs must be a path of str"),
        ({"memory": 1.5}, "memory must be an int or a str"),
        ({"pids": True}, "pids must be an int"),
        ({"cpus": "2"}, "cpus must be a number"),
        ({"user": 1.5}, "user must be a uid"),
        ({"capabilities": "KILL"}, "capabilities must be a list"),
        ({"seccomp": "strict"}, "seccomp must be"),
        ({"mounts": [7]}, "a mount must be"),
        ({"env": {"A": 1}}, "env must map str to str"),
    ],
)
def test_wrong_types_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Spec(**settings)
