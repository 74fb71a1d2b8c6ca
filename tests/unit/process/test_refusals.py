"""What is not acted on yet is refused, with its pointer, and never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.errors import UnsupportedError
from ocirun.process import refusals


def test_what_is_not_supported_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (*refusals.NOT_YET, ("linux", "warpDrive"))
    monkeypatch.setattr(refusals, "NOT_YET", table)
    for section, name in table:
        config: Any = {"ociVersion": "1.3.0", section: {name: {"some": "thing"}}}
        with pytest.raises(UnsupportedError) as caught:
            refusals.refuse_unsupported(config)
        assert f"/{section}/{name}" in str(caught.value)


def test_all_of_them_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "NOT_YET", (("linux", "a"), ("process", "b")))
    config: Any = {"linux": {"a": [1], "c": 2}, "process": {"b": "x"}}
    with pytest.raises(UnsupportedError) as caught:
        refusals.refuse_unsupported(config)
    assert "/linux/a" in str(caught.value)
    assert "/process/b" in str(caught.value)


def test_what_asks_for_nothing_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "NOT_YET", (("linux", "a"),))
    for config in ({}, {"linux": {}}, {"linux": {"a": {}}}):
        refusals.refuse_unsupported(config)  # type: ignore[arg-type]  # small configs
