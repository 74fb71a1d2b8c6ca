"""Build dist/ocirun_VERSION_ARCHITECTURE.deb for the Debian or Ubuntu release that this runs on.

    tools/deb [DIRECTORY]       # `make deb` calls it; DIRECTORY is dist/ by default

The package has /usr/bin/ocirun, man pages, completions and documents. Everything else is private:
/usr/lib/ocirun is laid out as a virtual environment of the release's own python3, which the
launcher finds by its own path. It holds the packages of Python that ocirun imports, because those
of a release are too old or pull in more than is used. The maintainer scripts are in tools/debian/.

Two builds of one commit, with the same release and the same packages of PyPI, have the same bytes.

Source: Debian Policy 4.6, deb(5), deb-triggers(5); reproducible-builds.org/docs/source-date-epoch.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from email.parser import Parser
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"  # the release's own: no other is there on every machine
PRIVATE = Path("usr/lib/ocirun")
TEMPLATES = REPO / "tools/debian"
DOCUMENTS = Path("usr/share/doc/ocirun")
MAINTAINER = "The ocirun authors <ocirun@users.noreply.github.com>"

# What of site-packages is imported, and for what; the rest of what pip brings stays out: cffi and
# pycparser (only its backend runs), Markdown and Pygments (rich wants them for documents), pip and
# setuptools.
KEPT = {
    "ocirun": "the runtime",
    "_cffi_backend": "system calls, in the ordinary start",
    "jsonschema": "reports on config.json",
    "jsonschema_specifications": "the metaschemas of jsonschema",
    "referencing": "references between schemas, for jsonschema",
    "rpds": "persistent maps, for referencing",
    "attr": "classes, for jsonschema and referencing",
    "attrs": "the newer name of attr",
    "typing_extensions": "types, for referencing and typer",
    "typer": "rare forms of the command line",
    "annotated_doc": "documented types, for typer",
    "annotated_types": "limits in types, for pydantic",
    "pydantic": "values of options, for typer",
    "pydantic_core": "the compiled part of pydantic",
    "typing_inspection": "types, for pydantic",
    "shellingham": "the name of the shell, for typer",
    "click": "the command line, for releases of typer that do not contain it",
    "rich": "the screen of top and the colours of doctor",
    "pyroute2": "the layout of netlink messages",
    "jeepney": "D-Bus, to systemd",
    "google": "protocol buffers, to CRIU",
}

# What makes the kernel and the initial RAM disk of the vm engine: tools/vm with what it reads, laid
# out as in this repository. The package has not these parts themselves: the kernel is Debian's.
SHARED = Path("usr/share/ocirun")
MACHINE_TOOLS = (
    "tools/vm",
    "ocirun/engines/vm/guest/*.[ch]",
    "tests/lab/__init__.py",
    "tests/lab/cache.py",
    "tests/lab/definition.toml",
    "tests/lab/vmlinux.py",
)

COMMON = {"GNU GENERAL PUBLIC LICENSE": "GPL-2", "Apache License": "Apache-2.0"}


def run(*words: str | Path, cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed; its failure ends this one."""
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=env,
        check=False,
    )
    if done.returncode:
        sys.exit(f"tools/deb: {words[0]} ended with {done.returncode}")
    return done.stdout


def python_version() -> str:
    """Return the version that names folders, such as "3.11"."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return run(PYTHON, "-c", program).strip()


def release() -> str:
    """Return the release as a part of the version, such as "deb12", which sorts as releases do."""
    facts = platform.freedesktop_os_release()
    name = {"debian": "deb"}.get(facts["ID"], facts["ID"])
    return f"{name}{facts.get('VERSION_ID', '0')}"


def install(scratch: Path) -> Path:
    """Install ocirun and what it needs into a virtual environment; return that."""
    place = scratch / "venv"
    run(PYTHON, "-m", "venv", place)
    # No path of this machine in what is compiled: two checkouts give the same package.
    maps = (f"-ffile-prefix-map={place}=." for place in (REPO, scratch))
    flags = shlex.join([*maps, "-g0"])
    environment = dict(os.environ, CFLAGS=flags, PIP_DISABLE_PIP_VERSION_CHECK="1")
    run(place / "bin/python", "-m", "pip", "install", "-qq", "--no-compile", REPO, env=environment)
    return place


def fill_private(venv: Path, tree: Path) -> None:
    """Lay /usr/lib/ocirun out: the launchers, and the packages that they import."""
    private = tree / PRIVATE
    (private / "bin").mkdir(parents=True)
    for name in ("ocirun", "ocirun-cold"):
        if (venv / "bin" / name).exists():
            shutil.copy(venv / "bin" / name, private / "bin" / name)
            run("strip", "--strip-unneeded", private / "bin" / name)
    (private / "pyvenv.cfg").write_text(
        f"home = {os.path.dirname(PYTHON)}\ninclude-system-site-packages = false\n"
    )
    folder = f"lib/python{python_version()}/site-packages"
    source = venv / folder
    target = private / folder
    unwanted = shutil.ignore_patterns(
        "__pycache__", "tests", "testdata", "benchmarks", "*.pyi", ".*"
    )
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name.split(".")[0] not in KEPT:
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=unwanted)
        else:
            shutil.copy(path, target / path.name)
    for path in target.rglob("*"):
        if path.suffix == ".so":
            run("strip", "--strip-unneeded", path)
        if path.is_file():
            path.chmod(0o644)
            content = path.read_bytes()
            if content.startswith(b"#!"):  # a module is no program here
                path.write_bytes(content.partition(b"\n")[2])


def fill_shared(venv: Path, tree: Path) -> None:
    """Lay out what everybody sees: the command, man pages, completions, documents, examples."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/ocirun").symlink_to(Path("../lib/ocirun/bin/ocirun"))
    for page in sorted((venv / "man").rglob("*.[1-9]")):
        compress(page.read_bytes(), tree / "usr/share/man" / page.parent.name / f"{page.name}.gz")
    for shell, path in {
        "bash": "bash-completion/completions/ocirun",
        "zsh": "zsh/vendor-completions/_ocirun",
        "fish": "fish/vendor_completions.d/ocirun.fish",
    }.items():
        script = tree / "usr/share" / path
        script.parent.mkdir(parents=True)
        script.write_text(run(venv / "bin/ocirun", "completion", shell))
    documents = tree / DOCUMENTS
    documents.mkdir(parents=True)
    for name in ("README.md", "SECURITY.md"):
        shutil.copy(REPO / name, documents / name)
    left_out = shutil.ignore_patterns("*.toml", ".*", "rootfs")  # rootfs: what make demo has filled
    for name in ("docs", "examples", "bundles"):  # beside README.md, whose links lead there
        shutil.copytree(REPO / name, documents / name, ignore=left_out)
    compress((REPO / "CHANGELOG.md").read_bytes(), documents / "changelog.gz")
    for pattern in MACHINE_TOOLS:
        for source in sorted(REPO.glob(pattern)):
            target = tree / SHARED / source.relative_to(REPO)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    overrides = tree / "usr/share/lintian/overrides/ocirun"
    overrides.parent.mkdir(parents=True)
    shutil.copy(TEMPLATES / "lintian-overrides", overrides)


def compress(content: bytes, path: Path) -> None:
    """Write a gzip file that holds neither a name nor a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0))


def write_debian_changelog(tree: Path, version: str, date: str) -> None:
    """Write the changelog of the packaging, which has the version that dpkg compares."""
    text = (
        f"ocirun ({version}) unstable; urgency=medium\n\n"
        "  * What changed is in changelog.gz.\n\n"
        f" -- {MAINTAINER}  {date}\n"
    )
    compress(text.encode(), tree / DOCUMENTS / "changelog.Debian.gz")


def copyright_text(venv: Path) -> str:
    """Return our licence and those of what is beside it, from their own metadata."""
    rule = "-" * 78
    text = [
        "ocirun: https://github.com/ocirun/ocirun",
        "Copyright: the ocirun authors",
        "License: Apache-2.0, see /usr/share/common-licenses/Apache-2.0",
        "",
        "The launchers contain the release's Python: /usr/share/doc/python3/copyright.",
        f"The packages below /{PRIVATE} have licences of their own, which follow.",
    ]
    for info in sorted(venv.glob("lib/python*/site-packages/*.dist-info")):
        record = (info / "RECORD").read_text().splitlines()
        folders = {line.split("/")[0].split(".")[0] for line in record}
        if not folders & (KEPT.keys() - {"ocirun"}):
            continue
        metadata = Parser().parsestr((info / "METADATA").read_text())
        text += ["", rule, f"{metadata['Name']} {metadata['Version']}", ""]
        for path in sorted(info.rglob("*")):
            if path.is_file() and re.match(r"(?i)licen[cs]e|copying|notice|authors", path.name):
                text += licence_text(path).splitlines()
    return "\n".join(text) + "\n"


def licence_text(path: Path) -> str:
    """Return a licence, or where Debian has it: those of COMMON are not repeated in a package."""
    text = path.read_text(errors="replace")
    for title, place in COMMON.items():
        if title in text[:400]:
            return f"See /usr/share/common-licenses/{place}."
    return text


def write_control(tree: Path, version: str) -> None:
    """Write DEBIAN/: what the package is, what it needs, and the maintainer scripts."""
    control = tree / "DEBIAN"
    control.mkdir()
    programs = [path for path in (tree / PRIVATE).rglob("*") if is_elf(path)]
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    library = f"libpython{python_version()}"
    (control / "control").write_text(
        f"Package: ocirun\nVersion: {version}\n"
        f"Architecture: {run('dpkg', '--print-architecture').strip()}\n"
        f"Maintainer: {MAINTAINER}\nInstalled-Size: {size}\n"
        f"Depends: {linked_packages(programs)}, {library}, python3, libseccomp2\n"
        "Recommends: uidmap\nSuggests: containerd | podman | docker.io, criu\n"
        "Section: admin\nPriority: optional\nHomepage: https://github.com/ocirun/ocirun\n"
        + (TEMPLATES / "description").read_text()
    )
    for name in ("postinst", "prerm", "triggers"):
        text = (TEMPLATES / name).read_text().replace("@LIBPYTHON@", library)
        (control / name).write_text(text.replace("@PYTHON@", f"python{python_version()}"))
        (control / name).chmod(0o644 if name == "triggers" else 0o755)
    sums = [
        f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n"
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not path.is_symlink() and control not in path.parents
    ]
    (control / "md5sums").write_text("".join(sums))


def is_elf(path: Path) -> bool:
    """Is this a program or a shared object?"""
    return path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF"


def linked_packages(programs: list[Path]) -> str:
    """Return the packages, with versions, of the libraries that the programs are linked with."""
    stanzas = ({"Source": "ocirun"}, {"Package": "ocirun", "Architecture": "any"})
    control = "\n".join(
        "".join(f"{name}: {value}\n" for name, value in stanza.items()) for stanza in stanzas
    )
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "debian").mkdir()  # dpkg-shlibdeps reads it, and wants no more than this
        (Path(place) / "debian/control").write_text(control)
        words = [word for path in programs for word in ("-e", str(path))]
        found = run("dpkg-shlibdeps", "--warnings=0", "-O", *words, cwd=place)
    return found.strip().partition("shlibs:Depends=")[2]


def build(output: Path) -> Path:
    """Build the package and return its path."""
    date = run("git", "-C", REPO, "log", "-1", "--format=%ct").strip()
    os.environ.setdefault("SOURCE_DATE_EPOCH", date)  # dpkg-deb takes all times from it
    day = run("date", "-Rud", f"@{os.environ['SOURCE_DATE_EPOCH']}").strip()
    own = run(sys.executable, REPO / "ocirun/_build/version.py").strip()
    version = f"{own}-1~{release()}"
    with tempfile.TemporaryDirectory(prefix="ocirun-deb-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        venv = install(Path(scratch))
        fill_private(venv, tree)
        fill_shared(venv, tree)
        write_debian_changelog(tree, version, day)
        (tree / DOCUMENTS / "copyright").write_text(copyright_text(venv))
        write_control(tree, version)
        run("chmod", "-R", "u=rwX,go=rX", tree)
        output.mkdir(parents=True, exist_ok=True)
        run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", tree, output)
    return next(output.glob(f"ocirun_{version}_*.deb"))


if __name__ == "__main__":
    os.umask(0o022)
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else REPO / "dist")))
