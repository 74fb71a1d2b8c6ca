/* The memory of the interpreter that a snapshot is made of. */

#ifndef OCIRUN_SNAPSHOT_HEAP_H
#define OCIRUN_SNAPSHOT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The region: a part of this program's address space, at an address the linker has fixed. */
extern char heap_start[], heap_end[];

#define HEAP_SLOT 16          /* bytes; no two blocks begin in the same slot */
#define HEAP_STEPS (4U << 20) /* blocks that a plan can have */

/* Where the blocks of an image are to lie. Python takes the same blocks in the same order each time
   that it comes up and imports the same modules, so a block is known by its number. */
struct heap_plan {
    uint32_t count; /* of blocks taken while it was recorded */
    size_t bytes;   /* that the placed blocks fill, from the start of the region */
    struct heap_step {
        uint32_t size, place; /* header included; offset in the region, 0 for anywhere */
    } steps[HEAP_STEPS];
};

/* Write down the size of each block that is taken from now on, and in `numbers`, by the slot it
   begins in, which one it was. Before heap_install. */
void heap_record(struct heap_plan *plan, uint32_t *numbers);

/* Put each block that is taken from now on where the plan says, as long as its size is the one that
   was recorded. Before heap_install. */
void heap_follow(struct heap_plan *plan);

/* Return how many bytes of the region have been taken. */
size_t heap_used(void);

/* Make Python take all its memory from the region; before Py_PreInitialize. */
void heap_install(void);

/* Hold the allocator's lock while this process forks. The C library keeps the request, so each
   process makes it anew. */
void heap_guard_forks(void);

/* Overwrite every free block with zeros and forget it; return how many bytes of the region are in
   use from then on, whole pages. */
size_t heap_seal(void);

#endif
