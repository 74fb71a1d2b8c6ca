/* Starting the interpreter the ordinary way. */

#ifndef OCIRUN_EMBED_H
#define OCIRUN_EMBED_H

#include "layout.h"

/* Initialise Python, isolated, with every path given; a refusal ends the process. */
void start_python(const struct layout *layout, const struct origin *origin, int argc, char **argv);

/* Return what the pending exception says, in one line; it is cleared. */
const char *exception_text(void);

#endif
