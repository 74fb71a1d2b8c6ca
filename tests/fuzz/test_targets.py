"""Every reader of foreign bytes, with what was found before and with new inputs."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.mutation import mutate
from fuzz.targets import CORPUS, TARGETS, Target

# There are many targets: each of the two tests takes as long as one of the others.
FEWER = settings(max_examples=max(10, settings.default.max_examples // 5))


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


def test_what_was_found_before_stays_fixed(target: Target) -> None:
    for name, data in target.kept():
        try:
            target.check(data)
        except BaseException as error:
            error.add_note(f"corpus/{target.name}/{name}")
            raise


@pytest.mark.parametrize("name", TARGETS)
@FEWER
@given(st.randoms(use_true_random=False), st.integers(0, 1 << 16))
@example(Random(0), 0)
def test_spoiled_inputs_are_read_or_refused(name: str, random: Random, which: int) -> None:
    target = TARGETS[name]
    inputs = target.inputs()
    target.check(mutate(random, inputs[which % len(inputs)], target.pieces, is_json=target.is_json))


@pytest.mark.parametrize("name", TARGETS)
@FEWER
@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    TARGETS[name].check(data)


def test_each_folder_of_the_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
