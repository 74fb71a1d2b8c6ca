/* What capabilities do to the machine as a whole, without doing it: see reach.c. */
#define _GNU_SOURCE
#include "reach.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/acct.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <unistd.h>

enum { SIZE_UNREAD = 9 }; /* syslog(2) */

/* The kernel looks at the capability, then at the arguments, which it has to refuse so. */
static int past(int refusal)
{
	return errno == refusal ? 0 : errno == ENOSYS ? NOT_HERE : errno;
}

static int audit_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
}

/* Sends a message and returns the errno of its acknowledgement. */
static int audit_message(int type, const char *text)
{
	struct {
		struct nlmsghdr header;
		char text[64];
	} message = {0};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[1024];
	} reply;
	int fd = audit_socket();

	if (fd < 0)
		return errno == EPROTONOSUPPORT ? NOT_HERE : errno;
	strcpy(message.text, text);
	message.header.nlmsg_len = (unsigned)(NLMSG_HDRLEN + strlen(text));
	message.header.nlmsg_type = (unsigned short)type;
	message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	if (send(fd, &message, message.header.nlmsg_len, 0) < 0)
		return errno == ECONNREFUSED ? NOT_HERE : errno; /* audit=0 */
	while (recv(fd, &reply, sizeof reply, 0) > 0)
		if (reply.header.nlmsg_type == NLMSG_ERROR)
			return -reply.error.error;
	return errno;
}

int audit_control(const char *none)
{
	(void)none;
	return audit_message(AUDIT_GET, ""); /* reads */
}

int audit_write(const char *none)
{
	(void)none;
	return audit_message(AUDIT_FIRST_USER_MSG + 20, "a test of ocirun"); /* AUDIT_TEST */
}

int audit_read(const char *none)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = audit_socket();

	(void)none;
	if (fd < 0)
		return errno == EPROTONOSUPPORT ? NOT_HERE : errno;
	return answer(bind(fd, (void *)&address, sizeof address));
}

int load_bpf(const char *none)
{
	union bpf_attr map = {
	    .map_type = BPF_MAP_TYPE_LRU_HASH, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)none;
	return answer(syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

int observe(const char *none)
{
	struct perf_event_attr clock = {
	    .type = PERF_TYPE_SOFTWARE, .size = sizeof clock, .config = PERF_COUNT_SW_CPU_CLOCK};
	long fd = syscall(SYS_perf_event_open, &clock, -1, 0, -1, 0);

	(void)none;
	return fd < 0 && errno == ENOSYS ? NOT_HERE : answer(fd);
}

int ask_log(const char *none)
{
	(void)none;
	return answer(syscall(SYS_syslog, SIZE_UNREAD, NULL, 0));
}

/* Without the magic numbers it restarts nothing. */
int restart(const char *none)
{
	(void)none;
	return syscall(SYS_reboot, 0, 0, 0, NULL) ? past(EINVAL) : EIO;
}

/* No bytes are no module. */
int load_module(const char *none)
{
	(void)none;
	return syscall(SYS_init_module, "", 0, "") ? past(ENOEXEC) : EIO;
}

int raise_priority(const char *none)
{
	(void)none;
	return answer(setpriority(PRIO_PROCESS, 0, -1));
}

int account(const char *none)
{
	(void)none;
	return acct("/nowhere/file") ? past(ENOENT) : EIO;
}

/* Port 0x80 is the one for which nobody listens; it is allowed and not used. Where the kernel has no
 * ioperm(2), or is locked down, this capability still maps the page of address 0. */
int use_ports(const char *none)
{
	(void)none;
#ifdef SYS_ioperm
	if (!syscall(SYS_ioperm, 0x80, 1, 1))
		return 0;
#endif
	return answer((long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

int raise_limit(const char *none)
{
	struct rlimit low = {0, 0}, high = {1, 1};

	(void)none;
	return setrlimit(RLIMIT_RTPRIO, &low) ? errno : answer(setrlimit(RLIMIT_RTPRIO, &high));
}

/* Sets the estimate of the clock's error, by which nothing moves, to what it is. */
int set_clock(const char *none)
{
	struct timex clock = {.modes = 0};

	(void)none;
	if (adjtimex(&clock) < 0)
		return errno;
	clock.modes = ADJ_ESTERROR;
	return adjtimex(&clock) < 0 ? errno : 0;
}

int hang_up(const char *none)
{
	(void)none;
	setsid(); /* there is no terminal to hang up */
	return answer(vhangup());
}

int set_alarm(const char *none)
{
	(void)none;
	return answer(timerfd_create(CLOCK_BOOTTIME_ALARM, TFD_CLOEXEC)); /* never armed */
}
