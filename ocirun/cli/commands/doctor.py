"""`ocirun doctor`: check what containers of this user may use on this host."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call
    from ocirun.doctor.probe import Finding

COLOURS: Final = {"ok": "green", "degraded": "yellow", "lacking": "red", "unknown": "magenta"}


def run(call: Call) -> int:
    """Print the findings; return 1 if this user cannot run any container here."""
    form = call.text("format")
    if form not in {"table", "json"}:
        raise UsageError("invalid format option")
    from ocirun.doctor.examine import can_run, examine, report

    root = call.settings["root"]
    findings = examine(str(root) if root else None)
    if form == "json":
        from ocirun.spec.jsontext import indented

        write(indented(report(findings), "  ") + "\n")
    else:
        _print(findings, can_run(findings))
    return 0 if can_run(findings) else 1


def _print(findings: list[Finding], able: bool) -> None:
    """Print for people: in colours if rich is installed and stdout is a terminal."""
    end = "This user can run containers." if able else "This user can run NO container here."
    try:
        from rich.console import Console  # cold, and optional as typer is
    except ModuleNotFoundError:
        write(plain(findings) + f"\n{end}\n")
        return
    console = Console(highlight=False, emoji=False, markup=False)
    if not console.is_terminal:
        write(plain(findings) + f"\n{end}\n")
        return
    for line in plain(findings).splitlines():
        word = line.strip().partition(" ")[0]
        console.print(line, style=COLOURS.get(word, "" if line[:1] == " " else "bold"))
    console.print(f"\n{end}", style="bold" if able else "bold red")


def plain(findings: list[Finding]) -> str:
    """Return the findings as text: a line each; if not ok also what was done, and what helps."""
    lines: list[str] = []
    group = ""
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines += ["", group] if lines else [group]
        lines.append(f"  {finding.verdict:8}  {finding.name:{width}}  {finding.found}")
        if finding.verdict != "ok":
            if finding.did:
                lines.append(f"            The check {finding.did}.")
            lines.append(f"            {finding.consequence}")
            if finding.remedy:
                lines.append(f"            → {finding.remedy}")
    return "\n".join(lines) + "\n"
