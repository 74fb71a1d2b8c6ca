"""Every `Source:` names something that a reader can open, and what is in this repository exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness.machine import REPO
from harness.sources import find_specification, tracked

SECTIONS_FILE = REPO / "tests" / "data" / "runtime-spec-sections.txt"

SPEC = re.compile(r"\b((?:bundle|config|runtime|features)(?:-linux)?\.md)(?:#([\w-]+))?")
SPEC_MORE = re.compile(r"(?<=[\s,(])#([a-z][\w-]*)")  # config.md#root, #mounts
OURS = re.compile(
    r"(?<![\w/.-])((?:docs|ocirun|tests|schemas|bundles|tools)/[\w./-]*\w|[A-Z]{2,}\.md)"
    r"(?:#([\w-]+))?"
)
PEERS = (
    r"runc|crun|go-runc|moby|podman|conmon|containerd|CRIU|systemd|logrus|runtime-tools"
    r"|kubernetes/[\w-]+|kubernetes-sigs/[\w-]+"
)
ELSEWHERE = [
    re.compile(words)
    for words in (
        r"[\w.@-]+\([1-9]\)",  # a manual page
        r"\b(RFC \d+|PEP \d+|CVE-\d{4}-\d+)",
        r"\b[\w/.-]+\.rst\b",  # the kernel's Documentation/
        r"\bkernel [\w/.-]+\.[ch]\b",
        r"\b(linux|include/uapi/linux|asm|sys)/\w+\.h\b",
        r"\b([\w-]+\.)+(org|com|io|dev)\b",  # a page of the web
        rf"\b({PEERS}) [\w*/.-]+(\.\w+|/[\w-]+)",  # a file of a public project
    )
]
# Notes that have been used and are not in the repository, and trackers that nobody else can read.
OUTSIDE = re.compile(
    r"\bcontract(\.md)?( §|[ :]+\d+\.\d)|\bcontract(\.md)? ?§|architecture of this project"
    r"|\bdesign/|\bstyle(\.md)? ?§|§ ?\d|\bissue \d"
)


def spec_sections() -> dict[str, set[str]]:
    sections: dict[str, set[str]] = {}
    name = ""
    for line in SECTIONS_FILE.read_text().splitlines():
        if line.startswith("    "):
            sections[name].update(line.split())
        elif not line.startswith("#"):
            name = line
            sections[name] = set()
    return sections


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of a page's headings."""
    text = re.sub(r"<a name=[^>]*>", "", page.read_text())
    headings = [line.strip() for line in re.findall(r"^#+ +(.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code() -> list[Path]:
    suffixes = {".py", ".pyi", ".c", ".h"}
    return [path for path in tracked() if path.suffix in suffixes and path != Path(__file__)]


def sources(path: Path) -> list[str]:
    """Return the text of each `Source:` of a file, on one line."""
    text = path.read_text()
    end = r'"""'
    if path.suffix in {".c", ".h"}:
        text = re.sub(r"^ \* ?", "", text, flags=re.MULTILINE)
        end = r"\*/"
    found = re.findall(rf"Source: (.+?)(?=\n\s*\n|{end}|\n\s*Raises:)", text, re.DOTALL)
    return [" ".join(source.split()) for source in found]


def wrong_in_this_repository(part: str) -> list[str]:
    wrong = []
    for name, anchor in OURS.findall(part):
        place = REPO / name
        if not place.exists():
            wrong.append(f"{name} does not exist")
        elif anchor and anchor not in anchors(place):
            wrong.append(f"{name} has no heading #{anchor}")
    return wrong


def wrong_in_the_specification(part: str, sections: dict[str, set[str]]) -> list[str]:
    wrong = []
    for match in SPEC.finditer(part):
        name = match[1]
        rest = part[match.end() :]
        following = SPEC.search(rest)
        more = SPEC_MORE.findall(rest[: following.start()] if following else rest)
        named = [match[2], *more] if match[2] else more
        wrong += [f"{name} has no #{one}" for one in named if one not in sections[name]]
    return wrong


def is_named(part: str) -> bool:
    return any(pattern.search(part) for pattern in (SPEC, OURS, *ELSEWHERE))


def test_every_source_can_be_opened() -> None:
    sections = spec_sections()
    wrong = []
    for path in code():
        for source in sources(path):
            for part in source.split("; "):
                faults = wrong_in_this_repository(part)
                if OURS.sub("", part) != part or "runtime-spec" in source:
                    faults += wrong_in_the_specification(OURS.sub("", part), sections)
                if not is_named(part):
                    faults.append("names nothing that can be opened")
                wrong += [f"{path.relative_to(REPO)}: {part!r}: {fault}" for fault in faults]
    assert not wrong, "\n".join(wrong)


def test_nothing_refers_to_a_document_outside() -> None:
    texts = [
        path for path in tracked() if path.suffix in {".py", ".pyi", ".c", ".h", ".md", ".toml"}
    ]
    found = [
        f"{path.relative_to(REPO)}:{number}: {line.strip()}"
        for path in texts
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if OUTSIDE.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("docs/nothing.md", "does not exist"),
        ("ARCHITECTURE.md#nowhere", "has no heading"),
        ("runtime-spec config.md#nowhere", "has no #nowhere"),
        ("runtime-spec config.md#root, #nowhere", "has no #nowhere"),
    ],
)
def test_a_source_that_is_gone_is_found(source: str, fault: str) -> None:
    faults = wrong_in_this_repository(source) + wrong_in_the_specification(source, spec_sections())
    assert [one for one in faults if fault in one]


def test_the_list_of_sections_is_that_of_the_specification() -> None:
    specification = find_specification()
    for name, sections in spec_sections().items():
        assert sections <= anchors(specification / name), name


def test_words_alone_are_no_source() -> None:
    assert not is_named("runc's configuration validator")
    assert is_named("runc libcontainer/configs/validate/validator.go")


def test_links_between_pages_resolve() -> None:
    wrong = []
    for page in (path for path in tracked() if path.suffix == ".md"):
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)", page.read_text()):
            place = (page.parent / target) if target else page
            if not place.exists():
                wrong.append(f"{page.relative_to(REPO)}: {target} does not exist")
            elif anchor and place.suffix == ".md" and anchor not in anchors(place):
                wrong.append(f"{page.relative_to(REPO)}: {target}#{anchor} is no heading")
    assert not wrong, "\n".join(wrong)
