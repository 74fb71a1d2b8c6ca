"""Bundles: found, read, checked, and refused with every problem at once."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ocirun
from ocirun.errors import Problem, SpecError
from ocirun.spec.load import check_process, check_resources, drop_nulls, load_config
from ocirun.spec.validate import validate_bundle

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    return tmp_path


def write(bundle: Path, config: Any) -> str:
    (bundle / "config.json").write_text(json.dumps(config))
    return str(bundle)


def test_a_good_bundle_comes_back_as_it_is(bundle: Path, config: Any) -> None:
    assert load_config(write(bundle, config)) == config
    assert validate_bundle(str(bundle)) == []


def test_another_file_may_be_named(bundle: Path, config: Any) -> None:
    (bundle / "other.json").write_text(json.dumps(config))
    assert load_config(str(bundle), "other.json") == config


def test_a_missing_file_has_runcs_sentence(bundle: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_config(str(bundle))
    assert str(caught.value) == "JSON specification file config.json not found"
    assert validate_bundle(str(bundle)) == [Problem("", "not found")]


@pytest.mark.parametrize("kind", ["directory", "pipe", "endless", "loop", "dangling"])
def test_what_is_no_file_gets_a_sentence(bundle: Path, kind: str) -> None:
    place = bundle / "config.json"
    match kind:
        case "directory":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
        case "endless":
            place.symlink_to("/dev/zero")
        case "loop":
            place.symlink_to("config.json")
        case "dangling":
            place.symlink_to("nothing")
    with pytest.raises(SpecError) as caught:
        load_config(str(bundle))
    assert "config.json" in str(caught.value)


def test_process_is_needed_to_create(bundle: Path, config: Any) -> None:
    del config["process"]
    with pytest.raises(SpecError, match="process property must not be empty"):
        load_config(write(bundle, config))
    assert load_config(str(bundle), need_process=False) == config
    assert validate_bundle(str(bundle)) == []


def test_root_must_be_a_directory(bundle: Path, config: Any) -> None:
    config["root"]["path"] = "nothing"
    with pytest.raises(SpecError, match=r"/root/path: invalid rootfs: .*no such file or directory"):
        load_config(write(bundle, config))
    config["root"]["path"] = "config.json"
    with pytest.raises(SpecError, match=r"invalid rootfs: .*: not a directory"):
        load_config(write(bundle, config))
    config["root"]["path"] = str(bundle / "rootfs")
    assert load_config(write(bundle, config))
    assert validate_bundle(str(bundle)) == []


def test_every_structural_problem_is_in_the_error(bundle: Path, config: Any) -> None:
    config["linux"]["namespaces"][0]["type"] = "netwrok"
    config["process"]["args"] = "sh"
    with pytest.raises(SpecError) as caught:
        load_config(write(bundle, config))
    assert caught.value.problems == validate_bundle(str(bundle))
    assert str(caught.value) == (
        'config.json: /linux/namespaces/0/type: "netwrok" is not a namespace type'
        ' (did you mean "network"?); config.json: /process/args: must be a list, not "sh"'
    )


def test_every_broken_rule_is_in_the_error(bundle: Path, config: Any) -> None:
    config["process"].update(cwd="x", args=[])
    config["hostname"] = "h"
    with pytest.raises(SpecError) as caught:
        load_config(write(bundle, config))
    assert [problem.pointer for problem in caught.value.problems] == [
        "/hostname",
        "/process/cwd",
        "/process/args",
    ]


def test_null_members_count_as_absent(bundle: Path, config: Any) -> None:
    expected = json.loads(json.dumps(config))
    config["hostname"] = None
    config["annotations"] = {"a": None}
    config["linux"]["resources"] = {"memory": {"limit": None}}
    expected["annotations"] = {}
    expected["linux"]["resources"] = {"memory": {}}
    assert load_config(write(bundle, config)) == expected


def test_null_items_are_refused(bundle: Path, config: Any) -> None:
    config["process"]["args"] = ["sh", None]
    with pytest.raises(SpecError, match=r"/process/args/1: must be a string, not null"):
        load_config(write(bundle, config))


def test_drop_nulls_reaches_every_depth() -> None:
    document = {"a": None, "b": [{"c": None, "d": [None, {"e": None}]}]}
    drop_nulls(document)
    assert document == {"b": [{"d": [None, {}]}]}


def test_process_of_exec(config: Any) -> None:
    process = config["process"]
    assert check_process(process) is process
    with pytest.raises(SpecError, match=r"^process.json: /cwd: Cwd property must not be empty$"):
        check_process({"args": ["a"]})
    with pytest.raises(SpecError, match=r"^p: /args: args must not be empty$"):
        check_process({"cwd": "/"}, "p")


def test_resources_of_update() -> None:
    resources = {"memory": {"limit": -1, "swap": None}}
    assert check_resources(resources) == {"memory": {"limit": -1}}
    with pytest.raises(SpecError, match=r"^resources: /pids/limit: must be a whole number"):
        check_resources({"pids": {"limit": "5"}})


def test_a_good_bundle_loads_nothing_slow(bundle: Path, config: Any) -> None:
    """The hot path stays within its import budget: ARCHITECTURE.md#imports-inside-functions."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); before = set(sys.modules)\n"
        "from ocirun.spec import devices, load\n"
        f"load.load_config({write(bundle, config)!r})\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(Path(ocirun.__file__).parent.parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    allowed = {
        "__future__",
        "os",
        "posixpath",
        "genericpath",
        "stat",
        "_stat",
        "_collections_abc",
        "errno",
    }
    added = {name for name in done.stdout.split() if name.split(".")[0] != "ocirun"}
    assert added <= allowed | {"os.path"}
    ours = {name.rpartition(".")[2] for name in done.stdout.split() if name.startswith("ocirun.")}
    read = {
        "_json",
        "checks",
        "devices",
        "jsontext",
        "load",
        "mount_rules",
        "rules",
        "regular_files",
    }
    assert ours == {"errors", "spec", "kernel"} | read
