/* Starting the interpreter the ordinary way. */

#ifndef OCIRUN_EMBED_H
#define OCIRUN_EMBED_H

#include "layout.h"

/* Initialise Python, isolated, with every path given; a refusal ends the process. `cold_reason` says
   why there is no fast start, for sys._xoptions; NULL or "" for nothing to report. */
void start_python(const struct layout *layout, const struct origin *origin,
                  const char *cold_reason, int argc, char **argv);

/* In a program with the interpreter linked in: make the modules that are linked too importable.
   Before start_python. */
void offer_linked_modules(void);

/* Return what the pending exception says, in one line; it is cleared. */
const char *exception_text(void);

#endif
