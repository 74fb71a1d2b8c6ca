/* The program in the virtual machine: its first process, and the agent that the monitor talks to.
 *
 *   main.c      file systems of the guest itself, the loop, the end
 *   port.c      frames to and from the monitor
 *   fields.c    the fields of a frame
 *   process.c   the container's process and those of exec: from a frame to a running program
 *   streams.c   their input and output
 *   child.c     what such a process does before it executes its program
 *   root.c      mounts, devices, masks: the container's root
 *   seed.c      randomness and the time
 *   network.c   network devices, addresses, routes
 *   cgroup.c    the limit of the number of processes
 *   image.c     the root from a disk
 *
 * One thread, no memory from the heap. Every size is bounded here, and every frame is checked before
 * it is used: a malformed frame ends the machine.
 *
 * Source: docs/vm.md#frames.
 */

#ifndef OCIRUN_GUEST_H
#define OCIRUN_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define MAX_FRAME (1U << 20)  /* of the monitor; docs/vm.md has the same numbers */
#define MAX_OUTPUT (32U << 10) /* of a frame of ours */
#define WINDOW (128U << 10)   /* bytes of one stream under way without an answer */
#define MAX_PROCESSES 64
#define MAX_SETUP (1U << 20)
#define MAX_WORDS 16384       /* arguments or variables of one process */
#define MAX_GROUPS 1024
#define MAX_ERROR 1024
#define MAX_FILTER 4096U      /* instructions: BPF_MAXINSNS */
#define INSTRUCTION_BYTES 8U  /* struct sock_filter, as the host's kernel has it */

/* Frames of the monitor. */
#define F_SEED 'E' /* before all others */
#define F_ROOT 'R'
#define F_BIND 'B'
#define F_MOUNT 'M'
#define F_DEVICES 'D'
#define F_SYSCTL 'S'
#define F_HOSTNAME 'H'
#define F_DOMAINNAME 'N'
#define F_MASK 'K'
#define F_READONLY 'O'
#define F_LINK 'L'
#define F_ADDRESS 'F'
#define F_ROUTE 'T'
#define F_PIDS 'C'
#define F_IMAGE 'J'
#define F_PROCESS 'P'
#define F_GO 'G'
#define F_INPUT 'I' /* empty: the end of it */
#define F_SIGNAL 'Z'
#define F_SIZE 'W'
#define F_ACK 'A'
#define FOR_PROCESS "GIZWA" /* types that are about a process which exists */
/* And ours. */
#define F_HELLO 'H'
#define F_SEEDED 'S'
#define F_READY 'R'
#define F_STARTED 'T'
#define F_FAILED 'X'
#define F_STDOUT 'O'
#define F_STDERR 'Q'
#define F_INPUT_ACK 'A'
#define F_EXIT 'V'

#define HEADER_BYTES 8

struct frame {
    char type;
    uint16_t process;
    uint32_t length;
    char *payload;
};

/* Fields: big-endian numbers, and strings that are a length, the bytes and a NUL. */
struct fields {
    char *at;
    char *end;
    bool bad; /* once set, every read gives 0 or "" */
};

struct user {
    uint32_t uid, gid, group_count;
    gid_t groups[MAX_GROUPS];
};

struct limit {
    uint32_t resource;
    uint64_t soft, hard;
};

#define MAX_LIMITS 16
#define P_TERMINAL 1U
#define P_NO_NEW_PRIVILEGES 2U
#define P_CAPABILITIES 4U
#define P_UMASK 8U
#define P_OOM_SCORE 16U
#define P_IO_PRIORITY 32U
#define P_SECCOMP 64U
#define P_SCHEDULER 128U
#define P_PERSONALITY 256U
#define P_KNOWN 511U
#define SECCOMP_FLAGS 6U /* LOG, SPEC_ALLOW */

enum { BOUNDING, EFFECTIVE, INHERITABLE, PERMITTED, AMBIENT, CAPABILITY_SETS };

/* struct sched_attr without its size. */
struct scheduler {
    uint32_t policy, flags, nice, priority; /* nice: two's complement */
    uint64_t runtime, deadline, period;
};

struct program {
    uint32_t flags, umask, oom_score, io_priority, persona, rows, columns;
    struct scheduler scheduler;
    struct user user;
    uint64_t capabilities[CAPABILITY_SETS];
    uint32_t limit_count;
    struct limit limits[MAX_LIMITS];
    uint32_t seccomp_flags, filter_bytes;
    char *filter;
    const char *cwd;
    char *args[MAX_WORDS + 1];
    char *env[MAX_WORDS + 1];
};

/* port.c */
void port_open(int fd);
int port_fd(void);
bool port_read(struct frame *frame); /* true: a whole frame; ends the machine on a broken one */
void port_write(char type, unsigned process, const void *data, size_t length);
void port_write_number(char type, unsigned process, uint32_t number);
_Noreturn void end_machine(const char *why);

/* fields.c */
void fields_of(struct fields *fields, char *data, size_t length);
uint32_t get_u32(struct fields *fields);
uint64_t get_u64(struct fields *fields);
char *get_string(struct fields *fields);
char *get_bytes(struct fields *fields, uint32_t length);
bool fields_done(const struct fields *fields);
bool read_program(struct fields *fields, struct program *program);

/* root.c */
bool is_setup(char type);
bool check_setup(const struct frame *frame);
bool do_setup(char *ops, size_t length, const char *share, char *error); /* false: says why */
bool fail(char *error, const char *what, const char *on);

/* seed.c */
bool take_seed(const struct frame *frame, bool is_machine);

/* network.c */
bool set_link(struct fields *fields, bool is_machine, char *error);
bool add_address(struct fields *fields, char *error);
bool add_route(struct fields *fields, char *error);

/* cgroup.c */
bool limit_pids(struct fields *fields, char *error);
bool open_cgroup_namespace(const char *path);
bool join_cgroup(bool is_first, char *error);

/* image.c */
#define IMAGE "/image" /* where it is mounted in the guest */
bool mount_image(struct fields *fields, char *error);
bool root_is_image(void);
void write_image(void);

/* main.c */
void load_modules(const char *directory); /* of the initial RAM disk; once */

/* child.c */
_Noreturn void run_child(const struct program *program, int control, int stdio[3], int ptmx);

/* process.c */
void processes_init(const char *share);
void processes_frame(struct frame *frame);
int processes_poll_fds(void *pollfds, int most);
void processes_ready(const void *pollfds, int count);
void processes_reap(void);
bool machine_is_over(void);

#endif
