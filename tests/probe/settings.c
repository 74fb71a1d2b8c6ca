/* How the kernel was told to treat this process: scheduling, memory nodes, its session keyring. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { WHO_PROCESS = 1, SESSION_KEYRING = -3, KEYCTL_DESCRIBE = 6, MAX_NODES = 4096 };

static void report_scheduler(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
		uint32_t util_min, util_max;
	} attr = {0};

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0)) {
		put_null("scheduler");
		return;
	}
	open_object("scheduler");
	put_unsigned("policy", attr.policy);
	put_unsigned("flags", attr.flags);
	put_number("nice", attr.nice);
	put_unsigned("priority", attr.priority);
	put_unsigned("runtime", attr.runtime);
	put_unsigned("deadline", attr.deadline);
	put_unsigned("period", attr.period);
	close_object();
}

static void report_memory_policy(void)
{
	unsigned long nodes[MAX_NODES / (8 * sizeof(long))] = {0};
	int mode = 0;

	if (syscall(SYS_get_mempolicy, &mode, nodes, (unsigned long)MAX_NODES, NULL, 0UL)) {
		put_null("memory_policy");
		return;
	}
	open_object("memory_policy");
	put_number("mode", mode);
	put_unsigned("nodes", nodes[0]);
	close_object();
}

static void report_keyring(void)
{
	char text[512];
	long size = syscall(SYS_keyctl, KEYCTL_DESCRIBE, SESSION_KEYRING, text, sizeof text, 0);

	put_text("keyring", size > 0 ? text : NULL); /* type;uid;gid;permissions;name */
	put_number("keyring_number", syscall(SYS_keyctl, 0, SESSION_KEYRING, 0));
}

void report_settings(void)
{
	struct utsname names;

	report_scheduler();
	put_number("io_priority", syscall(SYS_ioprio_get, WHO_PROCESS, 0));
	report_memory_policy();
	report_keyring();
	uname(&names);
	put_text("machine", names.machine);
}
