"""Write `ocirun/spec/checks.py`, plain Python that decides what the schemas decide, from schemas/.

jsonschema takes 90 ms to load; what this writes takes one, and a fraction of one for a document.
It only says yes or no: on no, `ocirun.spec.schema` validates again and writes the sentences. The
result is committed, and a test compares it with what this writes. The keywords below are all that
our schemas use; any other stops the build instead of being passed over.

Run by hand after a change of schemas/: `python -m ocirun._build.checks`.
"""

from __future__ import annotations

import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

TOP: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHARED: Final = "types.json"  # its definitions name the lines that several schemas share
SCHEMAS: Final = os.path.join(TOP, "schemas")
OUTPUT: Final = os.path.join(TOP, "ocirun", "spec", "checks.py")

# What may be asked on the hot path: a whole document, and the parts read from files of their own.
ENTRIES: Final = {
    "config": "config/config.json",
    "process": "config/process.json",
    "resources": "config/resources.json",
    "network": "networks/network.json",
}

WORDS: Final = {"$schema", "$defs", "title", "description", "examples", "x-absent", "x-invalid"}
KEYWORDS: Final = {
    "$ref", "type", "enum", "minimum", "maximum", "pattern", "items", "minItems",
    "properties", "required", "additionalProperties",
}  # fmt: skip

HEADER: Final = '''"""Whether a document has the shape that schemas/ describe.

Written by ocirun/_build/checks.py. Do not edit: change the schemas, then run
`python -m ocirun._build.checks`. A node is a tuple: the function that checks a value against it,
then what that function needs. No check raises. Nodes are data because a hundred functions would
take three times as long to load.
"""
# fmt: off
# ruff: noqa: SIM110  # a generator for each list of a document would double the time

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = tuple[Any, ...]  # (function, its arguments…): only the function knows what they are


def _string(value: object, _: Node) -> bool:
    return type(value) is str


def _strings(value: object, _: Node) -> bool:
    return type(value) is list and {*map(type, value)} <= {str}


def _boolean(value: object, _: Node) -> bool:
    return type(value) is bool


def _integer(value: object, node: Node) -> bool:
    _, least, most = node
    return type(value) is int and least <= value <= most


def _word(value: object, node: Node) -> bool:
    return type(value) is str and value in node[1]


def _text(value: object, node: Node) -> bool:
    """Match the whole text: each step takes from `least` to `most` letters that are `inside`."""
    if type(value) is not str:
        return False
    place = 0
    for letters, inside, least, most in node[1]:
        start = place
        while place < len(value) and place - start < most and (value[place] in letters) is inside:
            place += 1
        if place - start < least:
            return False
    return place == len(value)


def _list(value: object, node: Node) -> bool:
    _, item, least = node
    if type(value) is not list or len(value) < least:
        return False
    check = item[0]
    for one in value:
        if not check(one, item):
            return False
    return True


def _map(value: object, node: Node) -> bool:
    """Check every member, whatever its name."""
    if type(value) is not dict:
        return False
    member = node[1]
    check = member[0]
    for one in value.values():
        if not check(one, member):
            return False
    return True


def _known_as(name: str, members: dict[str, Node]) -> str:
    """Return the member that Go's reader takes `name` for, which is none of `members`; "" for none.

    U+017F and U+212A are the letters beyond ASCII that fold to "s" and "k".
    """
    folded = name.replace("\u017f", "s").lower()
    for known in members:
        if known.lower() == folded:
            return known if known != name else ""
    return ""


def _object(value: object, node: Node) -> bool:
    """Check the members that are known; one in another case is refused, the others ignored."""
    if type(value) is not dict:
        return False
    _, members, required = node
    for name in value:
        if name in members:
            member = members[name]
            if not member[0](value[name], member):
                return False
        elif _known_as(name, members):
            return False
    for name in required:
        if name not in value:
            return False
    return True


STRING: Node = (_string,)
STRINGS: Node = (_strings,)
BOOLEAN: Node = (_boolean,)
'''


def _key(node: dict[str, Any]) -> str:
    return json.dumps(node, sort_keys=True)


class UnknownKeyword(Exception):
    """A schema says something that this generator does not understand."""


class Generator:
    """Turns schema nodes into lines of Python; equal nodes share one."""

    def __init__(self, schemas: str = SCHEMAS) -> None:
        self.schemas = schemas
        self.files: dict[str, Any] = {}
        self.names: dict[str, str] = {
            _key({"type": "string"}): "STRING",
            _key({"type": "boolean"}): "BOOLEAN",
            _key({"type": "array", "items": {"type": "string"}}): "STRINGS",
        }
        self.lines: list[str] = []
        self.shared: dict[str, str] = {}
        for name, node in self.file(SHARED)["$defs"].items():
            self.shared.setdefault(_key(self.whole(node, SHARED)), _snake(name))

    def file(self, name: str) -> Any:  # noqa: ANN401  # JSON
        """Return the schema in the file `name`, a path relative to schemas/."""
        if name not in self.files:
            with open(os.path.join(self.schemas, name), encoding="utf-8") as source:
                self.files[name] = json.load(source)
        return self.files[name]

    def whole(self, node: dict[str, Any], file: str) -> dict[str, Any]:
        """Return `node` with references put in and words left out: only what decides.

        Our schemas never describe themselves, so that this comes to an end.
        """
        if unknown := set(node) - WORDS - KEYWORDS:
            raise UnknownKeyword(f"{file}: {sorted(unknown)}")
        result: dict[str, Any] = {}
        if "$ref" in node:
            name, _, pointer = node["$ref"].partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(file), name)) if name else file
            there = self.file(target)
            for step in pointer.split("/")[1:]:
                there = there[step]
            result = self.whole(there, target)
        for keyword in sorted(KEYWORDS - {"$ref"} & set(node)):
            value = node.get(keyword)
            if keyword == "properties":
                value = {name: self.whole(member, file) for name, member in node[keyword].items()}
            elif keyword in {"items", "additionalProperties"} and value is not None:
                value = self.whole(node[keyword], file)
            if value is not None:
                if keyword in result:
                    raise UnknownKeyword(f"{file}: {keyword} beside a $ref that has it too")
                result[keyword] = value
        return result

    def name(self, node: dict[str, Any], hint: str) -> str:
        """Return the name of the line for `node`, which is written now if it is the first."""
        key = _key(node)
        if key not in self.names:
            hint = self.shared.get(key, hint)
            expression = self.expression(node, hint)
            taken = set(self.names.values())
            name, count = hint.upper(), 2
            while name in taken:
                name, count = f"{hint.upper()}_{count}", count + 1
            self.names[key] = name
            self.lines.append(f"{name}: Node = {expression}")
        return self.names[key]

    def expression(self, node: dict[str, Any], hint: str) -> str:
        """Return the Python of `node`, which is not one of the three that the header has."""
        rest = set(node) - {"type"}
        if set(node) == {"enum"}:
            return f"(_word, frozenset({tuple(node['enum'])}))"
        match node.get("type"):
            case "integer" if rest == {"minimum", "maximum"}:
                return f"(_integer, {node['minimum']}, {node['maximum']})"
            case "string" if rest == {"pattern"}:
                return f"(_text, {_steps(node['pattern'])})"
            case "array" if rest in ({"items"}, {"items", "minItems"}):
                item = self.name(node["items"], f"{hint}_item")
                return f"(_list, {item}, {node.get('minItems', 0)})"
            case "object" if rest == {"additionalProperties"}:
                return f"(_map, {self.name(node['additionalProperties'], f'{hint}_member')})"
            case "object" if rest <= {"properties", "required"}:
                members = "".join(
                    f'\n    "{member}": {self.name(below, _snake(member))},'
                    for member, below in node.get("properties", {}).items()
                )
                return f"(_object, {{{members}\n}}, {tuple(node.get('required', ()))})"
        raise UnknownKeyword(f"{hint}: {node}")


def _snake(name: str) -> str:
    """Return a member's name as Python writes names: rootfsPropagation, rootfs_propagation."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _steps(pattern: str) -> tuple[tuple[str, bool, int, int], ...]:
    """Return the steps of `_text` for a pattern that is a row of letters and classes.

    A step takes all it can and never gives back, so a repeated class may not contain a letter
    with which the next step could begin.
    """
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise UnknownKeyword(f"the pattern {pattern} is open at one end")
    steps: list[tuple[str, bool, int, int]] = []
    parts = re.findall(r"(\[[^\]]+\]|[A-Za-z0-9:_ -])(\*?)", pattern[1:-1])
    if "".join(letters + star for letters, star in parts) != pattern[1:-1]:
        raise UnknownKeyword(f"the pattern {pattern} is more than letters and classes")
    for letters, star in parts:
        inside = not letters.startswith("[^")
        chosen = _letters(letters.removeprefix("[^").removeprefix("[").removesuffix("]"))
        if steps and steps[-1][3] > 1 and (not steps[-1][1] or set(steps[-1][0]) & set(chosen)):
            raise UnknownKeyword(f"the pattern {pattern} would have to look back")
        steps.append((chosen, inside, 0 if star else 1, 1 << 30 if star else 1))
    return tuple(steps)


def _letters(text: str) -> str:
    """Return the letters of a class: "a-c_" is "abc_"; a dash at the end is itself."""
    text = text.replace("\\n", "\n")
    ranges = re.sub(r"(.)-(.)", lambda m: "".join(map(chr, range(ord(m[1]), ord(m[2]) + 1))), text)
    if "\\" in ranges:
        raise UnknownKeyword(f"the class {text} has an escape")
    return ranges


def generate() -> str:
    """Return the source of `ocirun/spec/checks.py`."""
    generator = Generator()
    faces = []
    for entry, file in ENTRIES.items():
        name = generator.name(generator.whole(generator.file(file), file), entry)
        faces.append(
            f"\n\ndef check_{entry}(document: object) -> bool:\n"
            f'    """Return whether `document` conforms to schemas/{file}."""\n'
            f"    return _object(document, {name})\n"
        )
    return HEADER + "\n".join(generator.lines) + "\n" + "".join(faces)


if __name__ == "__main__":
    source = generate()
    with open(sys.argv[1] if len(sys.argv) > 1 else OUTPUT, "w", encoding="utf-8") as target:
        target.write(source)
