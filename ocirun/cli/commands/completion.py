"""`ocirun completion SHELL`: the script that teaches a shell our verbs, options and containers."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

# Each asks the program that is being completed, with the words up to the cursor.
SCRIPTS: Final = {
    "bash": r"""_ocirun() {
    local IFS=$'\n'
    COMPREPLY=($("${COMP_WORDS[0]}" complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _ocirun ocirun
""",
    "zsh": r"""#compdef ocirun
_ocirun() {
    local -a rows
    local line
    for line in "${(@f)$(${words[1]} complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && rows+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#rows )); then _describe ocirun rows; else _files; fi
}
compdef _ocirun ocirun
""",
    "fish": r"""function __ocirun_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    $words[1] complete fish $words[2..] (commandline --current-token --cut-at-cursor) 2>/dev/null
end
complete --command ocirun --arguments '(__ocirun_complete)'
""",
}
SHELLS: Final = tuple(SCRIPTS)


def run(call: Call) -> int:
    """Print the script; `eval "$(ocirun completion bash)"` loads it."""
    shell = call.arguments[0]
    if shell not in SCRIPTS:
        raise UsageError(f"no completion for {shell!r}, only for {', '.join(SHELLS)}")
    write(SCRIPTS[shell])
    return 0
