"""What the property-based tests share: real documents, and a way to spoil them.

Every test here is marked fuzz: `pytest -m fuzz tests/fuzz`. OCIRUN_FUZZ_EXAMPLES sets how many
examples each tries.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness.sources import find_reference
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DOCUMENTS = REPOSITORY / "tests" / "unit" / "spec" / "documents"

settings.register_profile(
    "ocirun",
    print_blob=True,
    max_examples=int(os.environ.get("OCIRUN_FUZZ_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("ocirun")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("fuzz")


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


BASES = [load(path) for path in sorted(DOCUMENTS.glob("*.json"))]


def words_of(value: Any) -> set[str]:
    """Return every text in a JSON value, names included."""
    if isinstance(value, dict):
        return set(value) | {word for member in value.values() for word in words_of(member)}
    if isinstance(value, list):
        return {word for item in value for word in words_of(item)}
    return {value} if isinstance(value, str) else set()


WORDS = sorted(
    set().union(*(words_of(base) for base in BASES))
    | words_of([load(path) for path in (REPOSITORY / "schemas").rglob("*.json")])
)

EDGES = [
    bound + step
    for bound in (0, 8, 100, 255, 511, 1000, 65535, 10**9, 2**31, 2**32, 2**63, 2**64)
    for sign in (1, -1)
    for step in (-1, 0, 1)
    for bound in [bound * sign]
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(EDGES),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, 1e3, -1.0]),
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.sampled_from(["2MB", "2MB\n", "0MB", "1kB", "MB:0=1", "MB:\n", "0-3", "0-3\n", "rwm", "x"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def walk(value: Any) -> Any:
    """Yield every (container, key) of a document."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from walk(value[key])


def mutate(draw: Any, document: Any) -> None:
    """Change one place of `document`: replace, remove, add, repeat, or move something there."""
    spots = list(walk(document))
    if not spots:
        return
    holder, key = draw(st.sampled_from(spots))
    match draw(st.sampled_from(["replace", "remove", "add", "repeat", "move"])):
        case "replace":
            holder[key] = draw(values)
        case "remove":
            del holder[key]
        case "add" if isinstance(holder[key], dict):
            holder[key][draw(st.sampled_from(WORDS) | st.text(max_size=2))] = draw(values)
        case "add" if isinstance(holder[key], list):
            holder[key].append(draw(values))
        case "repeat" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case "move":
            other, name = draw(st.sampled_from(spots))
            holder[key] = copy.deepcopy(other[name])
        case _:
            holder[key] = draw(scalars)


@st.composite
def spoiled(draw: Any, bases: list[Any]) -> Any:
    """Draw one of `bases` with one to three changes."""
    document = copy.deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 3))):
        mutate(draw, document)
    return document


@pytest.fixture(scope="session")
def configs() -> Any:
    """A strategy: configs of real callers, spoiled."""
    return spoiled(BASES)


@pytest.fixture(scope="session")
def spoil() -> Any:
    """The strategy's maker, for documents of a test's own."""
    return spoiled


@pytest.fixture(scope="session")
def json_values() -> Any:
    """A strategy: JSON values of any shape."""
    return values


@pytest.fixture(scope="session")
def config_texts() -> list[bytes]:
    """The real configs as bytes."""
    return [path.read_bytes() for path in sorted(DOCUMENTS.glob("*.json"))]


@pytest.fixture(scope="session")
def reference() -> Path:
    """The schemas of runtime-spec, if they have been fetched."""
    return find_reference()


def slices(document: Any, path: tuple[str, ...] = ()) -> Any:
    """Yield small documents that are `document` along one path each: faster to check."""
    for name, value in document.items():
        here = (*path, name)
        if here in {("process",), ("linux",), ("linux", "resources")}:
            yield from slices(value, here)
        else:
            part: Any = {name: value}
            for outer in reversed(path):
                part = {outer: {"cwd": "/", **part} if outer == "process" else part}
            yield {"ociVersion": "1.3.0", **part}


@pytest.fixture
def parts() -> Any:
    """A document with every property of the specification, in slices."""
    return list(slices(load(DOCUMENTS / "everything.json")))


@pytest.fixture(scope="session")
def places() -> Any:
    """The function that yields every (container, key) of a document."""
    return walk


def enums(node: Any) -> list[list[str]]:
    """Return every enum of a schema."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = [one for inner in below for one in enums(inner)]
    if isinstance(node, dict) and isinstance(node.get("enum"), list):
        found.append(node["enum"])
    return found


@pytest.fixture(scope="session")
def edges() -> Any:
    """A function: values that tell something in the place of the one given.

    They lie beside each limit that some number has, are every word of an enum that has the word,
    and the shapes of every other kind.
    """
    bounds = [0, 7, 100, 1000, 65535, 999999999, 9223372036, 2**31 - 1, 2**32 - 1, 2**63 - 1]
    numbers = [sign * bound + step for bound in bounds for sign in (1, -1) for step in (-1, 0, 1)]
    numbers += [2**64 - 1, 2**64]
    texts = ["x", "2MB", "2MB\n", "MB:", "MB:\n", "0-3,7", "0\n", "rwm", "rwmx"]
    shapes = [None, True, 1.0, [], [None], ["x"], [{}], {}, {"": None}, {"x": "y"}, {"x": {}}]
    known = [one for path in (REPOSITORY / "schemas").rglob("*.json") for one in enums(load(path))]

    def of(value: Any) -> list[Any]:
        if isinstance(value, int):
            return numbers + shapes
        if isinstance(value, str):
            return [word for one in known if value in one for word in one] + texts + shapes + [1]
        return ["x", 1, *shapes]

    return of
