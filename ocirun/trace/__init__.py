"""`--trace FILE` and `ocirun trace view`: record a command while it runs, and show the recording.

    session     begin and end the recording of one command
    recorder    raw records of one process, in memory that all of them share
    wrapping    put wrappers around system calls, steps and messages
    calls spans which calls and which functions are wrapped
    render      raw records to events of the Trace Event Format
    files       open and write the files
    load summary page        read traces again, for a text and for a page of HTML
    explain     what each step does, in a sentence, and the section of runtime-spec

Nothing here is loaded without `--trace`, and no other module knows of it: the wrappers are put in
place from outside. A traced process pays for them, others do not.

Source: docs/how-a-container-starts.md.
"""
