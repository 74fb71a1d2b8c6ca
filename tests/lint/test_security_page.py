"""SECURITY.md names the test that holds each invariant: they are there."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGE = (REPO / "SECURITY.md").read_text()
REFERENCE = re.compile(r"\((tests/[\w/]+\.py)\)(?: `(test_\w+)`)?")


def test_every_test_it_names_is_there() -> None:
    references = REFERENCE.findall(PAGE)
    assert len(references) > 20
    missing = [
        f"{path}::{name}"
        for path, name in references
        if not (REPO / path).is_file()
        or (name and not re.search(rf"^\s*def {name}\(", (REPO / path).read_text(), re.MULTILINE))
    ]
    assert missing == []


# Annotations that take access away, or change nothing outside of the container.
HARMLESS = {
    "org.ocirun.landlock.": "the container may do less",
    "org.ocirun.overlay": "a tmpfs of the container's own takes the writes",
    "org.ocirun.vm.": "how long a boot may take; and printed by state, not read",
    "run.oci.seccomp_fail_unknown_syscall": "create fails where it would warn",
    "org.opencontainers.runc.checkpoint.enabled": "printed by features, not read",
}


def test_every_annotation_is_unsafe_or_harmless() -> None:
    from ocirun.spec.features import UNSAFE_ANNOTATIONS

    name = re.compile(r'"((?:org\.(?:criu|ocirun|opencontainers|systemd)|run\.oci)\.[\w.]+)"')
    sources = [path.read_text() for path in (REPO / "ocirun").rglob("*.py")]
    found = {match for text in sources for match in name.findall(text)}
    known = (*UNSAFE_ANNOTATIONS, *HARMLESS)
    assert [one for one in sorted(found) if not one.startswith(known)] == []
    assert not HARMLESS.keys() & set(UNSAFE_ANNOTATIONS)


def test_every_annotation_that_features_calls_unsafe_is_named() -> None:
    from ocirun.spec.features import UNSAFE_ANNOTATIONS

    assert [name for name in UNSAFE_ANNOTATIONS if f"`{name}" not in PAGE] == []
