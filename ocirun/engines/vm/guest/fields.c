/* The fields of a frame: nothing is used that is not whole, and nothing may follow the last one. */

#include "guest.h"

#include <string.h>

void fields_of(struct fields *fields, char *data, size_t length)
{
    fields->at = data;
    fields->end = data + length;
    fields->bad = false;
}

uint32_t get_u32(struct fields *fields)
{
    const unsigned char *bytes = (const unsigned char *)fields->at;

    if (fields->bad || fields->end - fields->at < 4) {
        fields->bad = true;
        return 0;
    }
    fields->at += 4;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

uint64_t get_u64(struct fields *fields)
{
    uint64_t high = get_u32(fields);

    return high << 32 | get_u32(fields);
}

char *get_string(struct fields *fields)
{
    static char empty[1];
    uint32_t length = get_u32(fields);
    char *text = fields->at;

    if (fields->bad || (size_t)(fields->end - fields->at) <= length || text[length] != '\0' ||
        memchr(text, '\0', length) != NULL) {
        fields->bad = true;
        return empty;
    }
    fields->at += length + 1;
    return text;
}

char *get_bytes(struct fields *fields, uint32_t length)
{
    char *bytes = fields->at;

    if (fields->bad || (size_t)(fields->end - fields->at) < length) {
        fields->bad = true;
        return NULL;
    }
    fields->at += length;
    return bytes;
}

bool fields_done(const struct fields *fields) { return !fields->bad && fields->at == fields->end; }

static bool read_words(struct fields *fields, char **words)
{
    uint32_t count = get_u32(fields);

    if (count > MAX_WORDS)
        return false;
    for (uint32_t i = 0; i < count; i++)
        words[i] = get_string(fields);
    words[count] = NULL;
    return !fields->bad;
}

static void read_scheduler(struct fields *fields, struct scheduler *scheduler)
{
    scheduler->policy = get_u32(fields);
    scheduler->flags = get_u32(fields);
    scheduler->nice = get_u32(fields);
    scheduler->priority = get_u32(fields);
    scheduler->runtime = get_u64(fields);
    scheduler->deadline = get_u64(fields);
    scheduler->period = get_u64(fields);
}

/* A filter is of the kernel's size, or none at all. */
static bool read_filter(struct fields *fields, struct program *program)
{
    program->seccomp_flags = get_u32(fields);
    program->filter_bytes = get_u32(fields);
    program->filter = get_bytes(fields, program->filter_bytes);
    return (program->seccomp_flags & ~SECCOMP_FLAGS) == 0 &&
           program->filter_bytes <= MAX_FILTER * INSTRUCTION_BYTES &&
           program->filter_bytes % INSTRUCTION_BYTES == 0 &&
           ((program->flags & P_SECCOMP) != 0) == (program->filter_bytes != 0);
}

/* Read F_PROCESS; its strings and its filter stay in the frame's payload. */
bool read_program(struct fields *fields, struct program *program)
{
    program->flags = get_u32(fields);
    program->user.uid = get_u32(fields);
    program->user.gid = get_u32(fields);
    program->umask = get_u32(fields);
    program->oom_score = get_u32(fields);
    program->io_priority = get_u32(fields);
    program->persona = get_u32(fields);
    program->rows = get_u32(fields);
    program->columns = get_u32(fields);
    read_scheduler(fields, &program->scheduler);
    for (int i = 0; i < CAPABILITY_SETS; i++)
        program->capabilities[i] = get_u64(fields);
    program->user.group_count = get_u32(fields);
    if (program->user.group_count > MAX_GROUPS)
        return false;
    for (uint32_t i = 0; i < program->user.group_count; i++)
        program->user.groups[i] = get_u32(fields);
    program->limit_count = get_u32(fields);
    if (program->limit_count > MAX_LIMITS)
        return false;
    for (uint32_t i = 0; i < program->limit_count; i++) {
        program->limits[i].resource = get_u32(fields);
        program->limits[i].soft = get_u64(fields);
        program->limits[i].hard = get_u64(fields);
    }
    if (!read_filter(fields, program))
        return false;
    program->cwd = get_string(fields);
    if (!read_words(fields, program->args) || !read_words(fields, program->env))
        return false;
    return fields_done(fields) && program->args[0] != NULL && (program->flags & ~P_KNOWN) == 0 &&
           program->umask <= 0777 && program->oom_score <= 2000 && program->rows <= 0xffff &&
           program->columns <= 0xffff;
}
