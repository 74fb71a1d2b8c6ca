"""What people write for systemd: names of units, GVariant text, annotations; hostile ones too."""

from __future__ import annotations

import pytest

from ocirun.cgroups.systemd.annotations import annotated_properties
from ocirun.cgroups.systemd.gvariant import parse_text
from ocirun.cgroups.systemd.names import escape, expand_slice, names_of, object_path
from ocirun.errors import SpecError


@pytest.mark.parametrize(
    ("path", "name", "place"),
    [
        ("system.slice:runc:web", "runc-web.scope", "/system.slice/runc-web.scope"),
        ("a-b-c.slice:p:n", "p-n.scope", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-.slice:p:n", "p-n.scope", "/p-n.scope"),
        ("a.slice::n", "n.scope", "/a.slice/n.scope"),
        (":p:n", "p-n.scope", "/system.slice/p-n.scope"),
        ("a.slice:p:a-b.slice", "a-b.slice", "/a.slice/a-b.slice"),
        ("", "ocirun-id.scope", "/system.slice/ocirun-id.scope"),
    ],
)
def test_a_path_names_a_unit_and_its_place(path: str, name: str, place: str) -> None:
    names = names_of(path, "id", user=False)
    assert (names.name, names.path) == (name, place)


def test_a_users_units_are_in_the_users_slice() -> None:
    assert names_of(":p:n", "id", user=True).path == "/user.slice/p-n.scope"
    assert names_of("", "id", user=True).slice == "user.slice"


@pytest.mark.parametrize(
    "path",
    [
        *("/a/b", "a", "a:b", "a:b:c:d", "a.slice/../b.slice:p:n", "..:p:n", "../x.slice:p:n"),
        *("a.scope:p:n", ".slice:p:n", "-a.slice:p:n", "a-.slice:p:n", "a--b.slice:p:n"),
        *("a.slice:p:n/../../x", "a.slice:p/x:n", "a.slice::..", "a.slice::.", "a.slice:: "),
        *("a.slice:p:n\n", "a.slice:p:n\0", "a.slice:p:n x", "a.slice:p:ü", "a.slice:p:\udcff"),
        *("a.slice:p:--.slice", "a.slice:p:/.slice", "a.slice:p:a+b", "a.slice:p:" + "x" * 300),
        *("a\n.slice:p:n", "a\x1b[2J.slice:p:n", "x" * 300 + ".slice:p:n", "::" + "/" * 9),
    ],
)
def test_what_could_be_no_unit_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match="/linux/cgroupsPath"):
        names_of(path, "id", user=False)


def test_the_root_slice_has_no_path() -> None:
    assert expand_slice("-.slice") == ""


def test_an_id_is_escaped_where_a_unit_may_not_have_its_letters() -> None:
    assert escape("a+b") == r"a\x2bb"
    assert names_of("", "a+b.c_d-e", user=False).name == r"ocirun-a\x2bb.c_d-e.scope"


def test_an_object_path_has_letters_and_digits_only() -> None:
    assert object_path("runc-a1.scope").endswith("/unit/runc_2da1_2escope")
    assert object_path("1.scope").endswith("/unit/_31_2escope")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        (" false ", ("b", False)),
        ("'a b'", ("s", "a b")),
        ('"it\'s"', ("s", "it's")),
        (r"'\'\\\n\t\u00e4\U0001F600'", ("s", "'\\\n\tä\U0001f600")),
        ("['a', \"b\"]", ("as", ["a", "b"])),
        ("[ 'a' ]", ("as", ["a"])),
        ("@as []", ("as", [])),
        ("5", ("i", 5)),
        ("-5", ("i", -5)),
        ("0x1f", ("i", 31)),
        ("010", ("i", 8)),
        ("uint64 18446744073709551615", ("t", 2**64 - 1)),
        ("@t 7", ("t", 7)),
        ("byte 0xff", ("y", 255)),
        ("int16 -32768", ("n", -32768)),
        ("@s 'x'", ("s", "x")),
        ("boolean true", ("b", True)),
        ("2.5", ("d", "2.5")),
        ("double 2", ("d", "2")),
    ],
)
def test_values_are_read(text: str, value: object) -> None:
    assert parse_text(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "yes",
            "'",
            "'a",
            "\"a'",
            "'a' b",
            "true false",
            "[",
            "['a'",
            "['a' 'b']",
            "[,]",
        ),
        *("['a',]", "[1, 2]", "[]", "@as [1]", "@x 'a'", "@s 5", "@b 1", "uint64", "uint64 -1"),
        *(
            "2147483648",
            "uint32 4294967296",
            "byte 256",
            "0x",
            "08",
            "1e5",
            "1.",
            ".5",
            "--1",
            "+-1",
        ),
        *(
            "@",
            "@as",
            "@(ss) ('a', 'b')",
            "('a', 'b')",
            "{'a': 1}",
            "<5>",
            "nothing",
            "b'x'",
            "nan",
        ),
        *("'\0'", "'\udcff'", r"'\u0000'", r"'\ud800'", r"'\U00110000'", r"'\u12'", "'\\"),
        *("٣", "１", "uint64 ٣", "[" * 10000, "'" + "x" * 70000 + "'", "9" * 5000, "true\0"),
    ],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|longer|between|empty"):
        parse_text(text)


def test_the_refusal_says_where_and_shows_no_control_character() -> None:
    with pytest.raises(ValueError, match=r"letter 2 of '\[\\x1b\]'"):
        parse_text("[\x1b]")


@pytest.mark.parametrize(
    ("name", "text", "property_"),
    [
        ("CollectMode", "'inactive'", ("CollectMode", ("s", "inactive"))),
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", ("t", 5_000_000))),
        ("TimeoutStopSec", "uint64 5", ("TimeoutStopUSec", ("t", 5_000_000))),
        ("TimeoutStopSec", "1.0000019", ("TimeoutStopUSec", ("t", 1_000_001))),
        ("TimeoutStopSec", "double 0.5", ("TimeoutStopUSec", ("t", 500_000))),
        ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", ("t", 5))),
        ("Sec", "5", ("Sec", ("i", 5))),
        ("Weight", "2.5", ("Weight", ("d", 2.5))),
    ],
)
def test_annotations_become_properties(name: str, text: str, property_: object) -> None:
    found = annotated_properties({f"org.systemd.property.{name}": text, "other": "nonsense"})
    assert found == [property_]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("", "1"), ("ab", "1"), ("a.b.c", "1"), ("Names", "x"), ("Näme", "1"), ("a/b", "1")),
        *(("Abc1", "1"), ("Abc ", "1"), ("Abc\n", "1"), ("Αβγ", "1")),
        *(("XxxSec", "'5'"), ("XxxSec", "true"), ("XxxSec", "-1"), ("XxxSec", "-0.5")),
        ("XxxSec", "uint64 18446744073709551615"),
    ],
)
def test_annotations_that_cannot_be_are_refused(name: str, text: str) -> None:
    with pytest.raises(SpecError, match=r"/annotations/org\.systemd\.property\."):
        annotated_properties({f"org.systemd.property.{name}": text})
