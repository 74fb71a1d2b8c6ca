/* The build ids of this program and of the C library, from the notes of the loaded objects, and the
 * address of the latter.
 *
 * Source: dl_iterate_phdr(3); elf(5), "Notes (Nhdr)".
 */

#define _GNU_SOURCE
#include "image.h"

#include <elf.h>
#include <link.h>
#include <string.h>

/* Copy the build id out of a loaded object's notes; false when it has none. */
static bool read_build_id(const struct dl_phdr_info *object, uint8_t *id, size_t room)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const char *note, *end;

        if (object->dlpi_phdr[i].p_type != PT_NOTE)
            continue;
        note = (const char *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
        end = note + object->dlpi_phdr[i].p_memsz;
        while (note + sizeof(ElfW(Nhdr)) < end) {
            const ElfW(Nhdr) *header = (const ElfW(Nhdr) *)note;
            const char *name = note + sizeof *header;
            const char *content = name + ((header->n_namesz + 3) & ~3U);

            if (header->n_type == NT_GNU_BUILD_ID && header->n_namesz == 4 &&
                memcmp(name, "GNU", 4) == 0 && header->n_descsz <= room) {
                memcpy(id, content, header->n_descsz);
                return true;
            }
            note = content + ((header->n_descsz + 3) & ~3U);
        }
    }
    return false;
}

static bool is_library(const struct dl_phdr_info *object)
{
    const char *name = strrchr(object->dlpi_name, '/');

    return name && strncmp(name, "/libc.so.", 9) == 0;
}

struct ids {
    struct key *key;
    int objects, found;
};

static int visit_object(struct dl_phdr_info *object, size_t size, void *argument)
{
    struct ids *ids = argument;

    (void)size;
    if (ids->objects++ == 0) /* the first is this program */
        ids->found += read_build_id(object, ids->key->program_id, sizeof ids->key->program_id);
    else if (is_library(object))
        ids->found += read_build_id(object, ids->key->libc_id, sizeof ids->key->libc_id);
    return ids->found == 2;
}

bool read_build_ids(struct key *key)
{
    struct ids ids = {key, 0, 0};

    dl_iterate_phdr(visit_object, &ids);
    return ids.found == 2;
}

static int visit_library(struct dl_phdr_info *object, size_t size, void *argument)
{
    (void)size;
    if (is_library(object))
        *(uintptr_t *)argument = object->dlpi_addr;
    return is_library(object);
}

uintptr_t find_library(void)
{
    uintptr_t address = 0;

    dl_iterate_phdr(visit_library, &address);
    return address;
}
