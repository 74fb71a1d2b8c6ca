/* What surrounds the process: mounts, namespaces, devices, interfaces, files asked for. */
#define _GNU_SOURCE
#include "json.h"
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

static void put_lines(const char *key, const char *path)
{
	char *text = (char *)slurp(path);

	if (!text) {
		put_null(key);
		return;
	}
	open_list(key);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		put_text(NULL, line);
	close_list();
}

void report_mounts(void)
{
	put_lines("mountinfo", "/proc/self/mountinfo");
	put_lines("cgroup", "/proc/self/cgroup");
}

void report_namespaces(void)
{
	static const char *types[] = {"pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"};
	struct utsname names;

	open_object("namespaces");
	for (int i = 0; i < 8; i++) {
		char path[64];
		struct stat s;
		snprintf(path, sizeof path, "/proc/self/ns/%s", types[i]);
		if (stat(path, &s))
			put_null(types[i]);
		else
			put_unsigned(types[i], s.st_ino);
	}
	close_object();
	uname(&names);
	put_text("hostname", names.nodename);
	put_text("domainname", names.domainname);
	put_lines("uid_map", "/proc/self/uid_map");
	put_lines("gid_map", "/proc/self/gid_map");
	put_text("setgroups", slurp("/proc/self/setgroups"));
	put_lines("timens_offsets", "/proc/self/timens_offsets");
}

static const char *kind(mode_t mode)
{
	return S_ISCHR(mode) ? "c" : S_ISBLK(mode) ? "b" : S_ISFIFO(mode) ? "p" : S_ISDIR(mode) ? "d"
	     : S_ISLNK(mode) ? "l" : S_ISSOCK(mode) ? "s" : "f";
}

static void put_folder(const char *folder, int depth)
{
	DIR *entries = opendir(folder);
	struct dirent *entry;

	while (entries && (entry = readdir(entries))) {
		char path[512], target[512];
		struct stat s;
		ssize_t n;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		if (lstat(path, &s))
			continue;
		open_object(path);
		put_text("type", kind(s.st_mode));
		put_unsigned("mode", s.st_mode & 07777);
		put_unsigned("uid", s.st_uid);
		put_unsigned("gid", s.st_gid);
		if (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode)) {
			put_unsigned("major", major(s.st_rdev));
			put_unsigned("minor", minor(s.st_rdev));
		}
		if (S_ISLNK(s.st_mode) && (n = readlink(path, target, sizeof target - 1)) >= 0) {
			target[n] = 0;
			put_text("target", target);
		}
		close_object();
		if (S_ISDIR(s.st_mode) && depth < 2 && strcmp(path, "/dev/shm"))
			put_folder(path, depth + 1);
	}
	if (entries)
		closedir(entries);
}

void report_devices(void)
{
	open_object("dev");
	put_folder("/dev", 0);
	close_object();
}

void report_network(void)
{
	struct if_nameindex *all = if_nameindex();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	open_object("interfaces");
	for (struct if_nameindex *one = all; one && one->if_index; one++) {
		struct ifreq request = {0};
		strncpy(request.ifr_name, one->if_name, IFNAMSIZ - 1);
		if (ioctl(fd, SIOCGIFFLAGS, &request))
			put_null(one->if_name);
		else
			put_text(one->if_name, request.ifr_flags & IFF_UP ? "up" : "down");
	}
	close_object();
	if (all)
		if_freenameindex(all);
	close(fd);
}

void report_files(int argc, char **argv)
{
	open_object("files");
	for (int i = 1; i < argc; i++) {
		char *text;
		if (strncmp(argv[i], "file:", 5))
			continue;
		text = (char *)slurp(argv[i] + 5);
		put_text(argv[i] + 5, text);
	}
	close_object();
}
