/* What a snapshot's file looks like, and who may use it.
 *
 * A header, then the writable data of this program, then the used part of heap.h's region, each a
 * whole number of pages: they are mapped over the program's own, copy on write.
 *
 * Speed: between the header and the rest is a hole. The kernel reads the rest in folios of 2 MiB (see
 * thaw.c), but not where a page of these 2 MiB is in the page cache already, as the header is.
 */

#ifndef OCIRUN_SNAPSHOT_IMAGE_H
#define OCIRUN_SNAPSHOT_IMAGE_H

#include "../launcher.h"
#include "../layout.h"

#include <stdint.h>
#include <sys/stat.h>

#define PAGE_BYTES 4096UL
#ifdef ONE_FILE /* which is read with all that precedes the image */
#define MEMORY_OFFSET PAGE_BYTES
#else
#define MEMORY_OFFSET (2UL << 20)
#endif
#define IMAGE_BELOW "lib/ocirun/snapshot" /* of the prefix */
#define MAX_SPARED 16
#define MAX_CALLS 1024

/* A file whose change makes the image stale. An absent one has zeros: appearing is a change. */
struct witness {
    uint64_t inode, size, modified_ns;
    char path[480];
};

/* Every member has to be equal, byte by byte, for an image to be used. */
struct key {
    char format[16];
    uint8_t program_id[24], libc_id[24]; /* build ids, the rest zeros */
    uint64_t inode, modified_ns;         /* of the image itself: a copy or a changed one differs */
    char program[480];                   /* absolute path */
};

/* A range of memory; `offset` is where the file has it. */
struct range {
    uint64_t start, length, offset;
};

struct header {
    struct key key;
    struct witness witnesses[4];
    struct range data, heap;
    uint64_t file_size;
    uint32_t first_key, last_key; /* numbers of Python's pthread keys */
    uint32_t thread_key;          /* the one that leads to the thread state */
    uint32_t spared_count;
    struct range spared[MAX_SPARED]; /* words in `data` that belong to the C library */
};
_Static_assert(sizeof(struct header) <= PAGE_BYTES, "the header is one page");

/* Write the build ids to the key; return whether both were found. */
bool read_build_ids(struct key *key);

/* Fill in a key for the image that `image` describes; "" or the reason why none can be made. */
const char *make_key(struct key *key, const struct origin *origin, const struct stat *image);

/* Record the files on which a start of Python with this layout depends. */
const char *make_witnesses(struct header *header, const struct layout *layout);

/* Is every witness as it was? */
bool witnesses_agree(const struct header *header);

/* Open the image of the launcher at `origin` and read its header; -1 with the reason in `why`. */
int open_image(struct header *header, const struct origin *origin, const char **why);

/* The table of addresses of the C library's functions that this program calls, as far as they are
   the same in each process, less the address of the library. Part of the image; not the table itself,
   which the dynamic linker fills in as functions are called. A function of which there are several,
   for different processors, has 0. */
struct calls {
    uint64_t *table;
    uint32_t count, offsets[MAX_CALLS];
};
extern struct calls calls;

/* Return the address of the C library. */
uintptr_t find_library(void);

/* Before the C library's first allocation in the process whose memory is going to be audited. */
void audit_prepare(void);

/* Return how many words of the header's ranges point to memory that only this process has, with a
   line on stderr for each. Words that are this thread's id become 0. */
unsigned int audit(const struct header *header);

/* Become the image: map it, make what Python believes of its process true of this one, call its
   main. Returns only when the image cannot be mapped here; this program can then only execute
   another. */
void thaw(int image_fd, const struct header *header, const struct origin *origin, int argc,
          char **argv);

/* What the dump leaves behind for thaw: fixed when the image is made, so part of it. */
void remember(void);

/* Write an image of a Python that has just come up to `image_fd`; ends the process. Refuses when the
   Python that is linked in is another than `version`, what the ordinary start would load. */
_Noreturn void dump(int image_fd, const struct origin *origin, const char *version);

#endif
