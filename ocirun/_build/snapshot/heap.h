/* The memory of the interpreter that a snapshot is made of. */

#ifndef OCIRUN_SNAPSHOT_HEAP_H
#define OCIRUN_SNAPSHOT_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* The region: a part of this program's address space, at an address the linker has fixed. */
extern char heap_start[], heap_end[];

/* Make Python take all its memory from the region; before Py_PreInitialize. */
void heap_install(void);

/* Hold the allocator's lock while this process forks. The C library keeps the request, so each
   process makes it anew. */
void heap_guard_forks(void);

/* Overwrite every free block with zeros and forget it; return how many bytes of the region are in
   use from then on, whole pages. */
size_t heap_seal(void);

#endif
