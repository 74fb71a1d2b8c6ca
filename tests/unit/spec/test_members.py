"""Members in another case: Go's reader, and so runc, takes them, and so do we."""

# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.spec.checks import check_config
from ocirun.spec.load import check_process, check_resources, load_config
from ocirun.spec.members import drop_unknown, respell
from ocirun.spec.validate import examine_bundle


def config(**members: Any) -> dict[str, Any]:
    return {"ociVersion": "1.0.2", "root": {"path": "."}, **members}


def loaded(folder: Path, document: Any) -> Any:
    (folder / "config.json").write_text(json.dumps(document))
    return load_config(str(folder), need_process=False)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"Process": {"cwd": "/", "args": ["x"], "nonewprivileges": True}},
         {"process": {"cwd": "/", "args": ["x"], "noNewPrivileges": True}}),
        ({"LINUX": {"Namespaces": [{"TYPE": "mount"}], "maskedpaths": ["/proc/x"]}},
         {"linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["/proc/x"]}}),
        ({"linux": {"resources": {"hugePageLimits": [], "rdma": {"MLX": {"hcahandles": 1}}}}},
         {"linux": {"resources": {"hugepageLimits": [], "rdma": {"MLX": {"hcaHandles": 1}}}}}),
        ({"proce\u017f\u017f": {"cwd": "/", "args": ["x"]}},
         {"process": {"cwd": "/", "args": ["x"]}}),
        ({"hoo\u212as": {"prestart": []}}, {"hooks": {"prestart": []}}),
    ],
)  # fmt: skip
def test_members_in_another_case_are_read(
    tmp_path: Path, written: dict[str, Any], read: dict[str, Any]
) -> None:
    assert loaded(tmp_path, config(**written)) == config(**read)


def test_a_read_only_root_stays_read_only(tmp_path: Path) -> None:
    document = config(linux={"namespaces": [{"type": "mount"}]})
    document["root"] = {"path": ".", "Readonly": True}
    assert loaded(tmp_path, document)["root"] == {"path": ".", "readonly": True}


@pytest.mark.parametrize(
    "members",
    ['"readonly": true, "Readonly": false', '"Readonly": false, "readonly": true'],
)
def test_the_exact_name_wins(tmp_path: Path, members: str) -> None:
    root = f'"ociVersion": "1.0.2", "root": {{"path": ".", {members}}}'
    text = f'{{{root}, "linux": {{"namespaces": [{{"type": "mount"}}]}}}}'
    (tmp_path / "config.json").write_text(text)
    assert load_config(str(tmp_path), need_process=False)["root"] == {"path": ".", "readonly": True}


def test_without_the_exact_name_the_last_one_counts(tmp_path: Path) -> None:
    document = config(hostName="a", HOSTNAME="b", linux={"namespaces": [{"type": "uts"}]})
    assert loaded(tmp_path, document)["hostname"] == "b"


def test_names_of_maps_stay_as_they_are(tmp_path: Path) -> None:
    """Annotations, sysctls and devices have names of their own."""
    document = config(annotations={"Linux": "a", "ociversion": "b"})
    assert loaded(tmp_path, document) == document


def test_an_unknown_member_is_nobodys_business(tmp_path: Path) -> None:
    document = config(extension={"Process": 1}, linux={"Extension": []})
    assert loaded(tmp_path, document) == document


def test_a_wrong_value_in_another_case_is_refused_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, config(hostName=7))
    [problem] = caught.value.problems
    assert problem.pointer == "/hostname"


def test_the_other_documents_are_read_alike() -> None:
    process = check_process({"Cwd": "/", "args": ["x"], "noNewPrivileges": True})
    assert process == {"cwd": "/", "args": ["x"], "noNewPrivileges": True}
    assert check_resources({"Pids": {"Limit": 5}}) == {"pids": {"limit": 5}}


def test_validate_says_which_members_other_readers_would_ignore(tmp_path: Path) -> None:
    document = config(hostName="a", Linux={"Namespaces": [{"type": "uts"}]}, hostname="b")
    (tmp_path / "config.json").write_text(json.dumps(document))
    verdict = examine_bundle(str(tmp_path))
    assert verdict.problems == []
    problems = {warning.pointer: str(warning) for warning in verdict.warnings}
    assert set(problems) == {"/hostName", "/Linux", "/Linux/Namespaces"}
    assert 'is ignored beside "hostname"' in problems["/hostName"]
    assert 'is read as "namespaces", as runc does' in problems["/Linux/Namespaces"]
    assert 'write "namespaces"' in problems["/Linux/Namespaces"]


def test_a_document_in_the_right_case_is_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("ocirun.spec.members.respell", refuse)
    loaded(tmp_path, config(hostname="a", linux={"namespaces": [{"type": "uts"}]}, other=1))


def test_respelling_twice_changes_nothing() -> None:
    document = config(HostName="a")
    assert not check_config(document)
    assert respell(document, "config")
    assert check_config(document)
    assert respell(document, "config") == []


def test_what_no_schema_knows_can_be_dropped() -> None:
    document = {
        "pids": {"limit": 1, "x": 2},
        "extension": [{}],
        "unified": {"any.name": "1"},
        "blockIO": {"weightDevice": [{"major": 1, "minor": 2, "extra": None}], "other": [False]},
    }
    drop_unknown(document, "resources")
    assert document == {
        "pids": {"limit": 1},
        "unified": {"any.name": "1"},
        "blockIO": {"weightDevice": [{"major": 1, "minor": 2}]},
    }


def test_an_update_leaves_unknown_members_out() -> None:
    assert check_resources({"extension": 7, "cpu": {"more": [{}]}}) == {"cpu": {}}
