/* Where the interpreter and the package are. */

#ifndef OCIRUN_LAYOUT_H
#define OCIRUN_LAYOUT_H

#include "launcher.h"

/* Where things are; absolute paths, "" where there is none. */
struct layout {
    char own_prefix[PATH_MAX];  /* the launcher's: the parent of its bin folder */
    char home_prefix[PATH_MAX]; /* of the Python that the venv was made from */
    bool in_venv;               /* and packages outside it do not count */
    char prefix[PATH_MAX];      /* of the interpreter */
    char library[PATH_MAX]; /* "" leaves the search to the loader */
    char stdlib[PATH_MAX];
    char dynload[PATH_MAX];
    char package[PATH_MAX]; /* the folder that holds ocirun/ */
};

/* The folders below a prefix that may hold packages, in the order they are tried; ends with NULL. */
extern const char *const package_folders[];

/* Fill in the layout of the launcher at `origin`; a part that is missing ends the process. */
void find_layout(struct layout *layout, const struct origin *origin);

/* Write "first/second" to `path` (PATH_MAX bytes); return whether "first/second/inside" can be read. */
bool find_file(char *path, const char *first, const char *second, const char *inside);

#endif
