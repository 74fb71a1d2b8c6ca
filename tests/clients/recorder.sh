#!/bin/sh
# A runtime for a client under test: write down how it was called, then be the real runtime.
#
# A copy with @RUNTIME@ and @LOG@ filled in is given to the client (clients/recorder.py). Each call
# appends one block: argv, parent, working directory, descriptors, environment.
{
    printf 'call %s\n' "$$"
    for word in "$@"; do printf 'arg %s\n' "$word"; done
    printf 'parent %s\n' "$(tr '\0' ' ' <"/proc/$PPID/cmdline")"
    printf 'cwd %s\n' "$(pwd)"
    for fd in "/proc/$$/fd/"*; do printf 'fd %s %s\n' "${fd##*/}" "$(readlink "$fd")"; done
    tr '\0' '\n' <"/proc/$$/environ" | sed 's/^/env /'
} >>'@LOG@' 2>/dev/null
exec '@RUNTIME@' "$@"
