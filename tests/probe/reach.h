/* What `probe reach` does, by the subject of the capability: reach.c and reach_machine.c. */
#ifndef REACH_H
#define REACH_H

#include <errno.h>

enum { NOT_HERE = 255 }; /* this kernel cannot */

/* 0 or the errno of a call that returns -1. */
static inline int answer(long result)
{
	return result == -1 ? errno : 0;
}

int audit_control(const char *none);
int audit_write(const char *none);
int audit_read(const char *none);
int load_bpf(const char *none);
int observe(const char *none);
int ask_log(const char *none);
int restart(const char *none);
int load_module(const char *none);
int raise_priority(const char *none);
int account(const char *none);
int use_ports(const char *none);
int raise_limit(const char *none);
int set_clock(const char *none);
int hang_up(const char *none);
int set_alarm(const char *none);

#endif
