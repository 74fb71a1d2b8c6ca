/* Check that no word of an image points to memory that only this process has.
 *
 * The C library, the dynamic linker, shared objects, the stack and the C library's heap are at
 * different addresses in each process. A saved pointer to any of these would be memory corruption
 * in a privileged program. So each aligned word to be saved is compared with every mapping of this
 * process except the program's own, which are at fixed addresses. An integer that happens to look
 * like such a pointer fails the dump too: the next attempt will succeed, and no image is better
 * than a wrong one.
 *
 * The heap that the C library extends by brk(2) would begin behind this program, at an address as
 * small as many integers, texts and pieces of bytecode. So its way is blocked, before it begins:
 * the C library's memory then comes from mmap(2), at addresses that nothing else looks like.
 *
 * One value is known and allowed: the id of the only thread, which in the C library is an address.
 * PyOS_AfterFork_Child and thaw set the variables that hold it, so the image has 0 there.
 */

#define _GNU_SOURCE
#include "heap.h"
#include "image.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_MAPPINGS 512
#define MAX_TOLD 20

struct mapping {
    unsigned long start, end;
    char name[64];
};

static void *blocker; /* one page, which cannot be accessed */

void audit_prepare(void)
{
    const uintptr_t heap = ((uintptr_t)sbrk(0) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

    blocker = mmap((void *)heap, PAGE_BYTES, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (blocker == MAP_FAILED)
        fail("making a snapshot: %s", strerror(errno));
}

/* Read the mappings that are not at fixed addresses; exits if there are too many. */
static int read_mappings(struct mapping *mappings)
{
    char line[PATH_MAX + 100];
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    extern char __executable_start[];

    if (!file)
        fail("making a snapshot: cannot read /proc/self/maps");
    while (fgets(line, sizeof line, file)) {
        struct mapping *next = &mappings[count];
        const char *name;

        if (sscanf(line, "%lx-%lx", &next->start, &next->end) != 2)
            continue;
        if (next->start >= (unsigned long)__executable_start &&
            next->end <= (unsigned long)heap_end)
            continue;
        if (next->start == (unsigned long)blocker)
            continue;
        if (++count == MAX_MAPPINGS)
            fail("making a snapshot: too many mappings");
        line[strcspn(line, "\n")] = '\0';
        name = strrchr(line, strchr(line, '/') ? '/' : ' ');
        snprintf(next->name, sizeof next->name, "%s", name ? name + 1 : "?");
    }
    fclose(file);
    return count;
}

static bool is_spared(const struct header *header, uint64_t address)
{
    for (uint32_t i = 0; i < header->spared_count; i++)
        if (address - header->spared[i].start < header->spared[i].length)
            return true;
    return false;
}

/* Return the name of the variable at an address, from the program's symbols. */
static void describe(char *text, size_t room, uint64_t address)
{
    Dl_info info;

    if (dladdr((void *)address, &info) && info.dli_sname)
        snprintf(text, room, " (%s+%#lx)", info.dli_sname, address - (uint64_t)info.dli_saddr);
    else
        text[0] = '\0';
}

/* Check each word of a range; returns how many point to a forbidden mapping. */
static unsigned int audit_range(const struct range *range, const struct header *header,
                                const struct mapping *mappings, int count)
{
    const unsigned long thread = (unsigned long)pthread_self();
    unsigned long *const words = (unsigned long *)range->start;
    unsigned int found = 0;

    for (uint64_t i = 0; i < range->length / sizeof *words; i++) {
        const uint64_t address = range->start + i * sizeof *words;

        if (words[i] == 0 || is_spared(header, address))
            continue;
        if (words[i] == thread) {
            words[i] = 0;
            continue;
        }
        for (int k = 0; k < count; k++) {
            char holder[200];

            if (words[i] < mappings[k].start || words[i] >= mappings[k].end)
                continue;
            describe(holder, sizeof holder, address);
            if (found++ < MAX_TOLD)
                fprintf(stderr, "ocirun: making a snapshot: %#lx at %#lx%s points into %s\n",
                        words[i], address, holder, mappings[k].name);
            break;
        }
    }
    return found;
}

unsigned int audit(const struct header *header)
{
    struct mapping mappings[MAX_MAPPINGS]; /* on the stack, which is not part of the image */
    int count = read_mappings(mappings);

    blocker = NULL; /* in the image it would be another address each time */
    return audit_range(&header->data, header, mappings, count) +
           audit_range(&header->heap, header, mappings, count);
}
