"""Device rules to be tried, and what they mean: the plainest reading of the specification.

Source: runtime-spec config-linux.md#allowed-device-list.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ocirun.cgroups.devicerules import Verdicts, bits_of

NUMBERS = st.sampled_from([None, -1, 1, 2])
ACCESS = st.sampled_from(["r", "w", "m", "rw", "rwm", "wm"])
RULES = st.lists(
    st.fixed_dictionaries(
        {"allow": st.booleans(), "access": ACCESS},
        optional={
            "type": st.sampled_from(["a", "b", "c", "c", "c"]),
            "major": NUMBERS,
            "minor": NUMBERS,
        },
    ),
    max_size=8,
)
QUESTIONS = [
    (kind, major, minor, letter)
    for kind in "bc"
    for major in (1, 2, 3)
    for minor in (1, 2, 3)
    for letter in "rwm"
]


def last_match_wins(rules: list[dict[str, object]], question: tuple[str, int, int, str]) -> bool:
    """Read the specification aloud."""
    kind, major, minor, letter = question
    verdict = False
    for entry in rules:
        if entry.get("type", "a") == "a" or (
            entry["type"] == kind
            and entry.get("major") in (None, -1, major)
            and entry.get("minor") in (None, -1, minor)
            and letter in str(entry["access"])
        ):
            verdict = bool(entry["allow"])
    return verdict


def permits(verdicts: Verdicts, question: tuple[str, int, int, str]) -> bool:
    kind, major, minor, letter = question
    hit = any(
        key[0] == kind
        and key[1] in (-1, major)
        and key[2] in (-1, minor)
        and bits_of(letter) & bits
        for key, bits in verdicts.exceptions.items()
    )
    return verdicts.allows != hit
