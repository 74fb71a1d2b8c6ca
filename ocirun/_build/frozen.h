/* The table that freeze.py writes: modules of ocirun, ready to run. */

#ifndef OCIRUN_FROZEN_H
#define OCIRUN_FROZEN_H

#include <Python.h>

extern const char frozen_id[]; /* what <package>/frozen.id says beside the same modules */
extern const struct _frozen frozen_modules[];

#endif
