/* The guest's network devices, made as those of the container's network namespace on the host.
 *
 * A device is found by its hardware address, which is that of the host's.
 *
 * Source: rtnetlink(7), netdevice(7).
 */

#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAC_BYTES 6
#define MAX_ADDRESS 16
#define DEVICE_ROUNDS 6000
#define ROUND_US 10000
#define MAX_DEVICES 32 /* the monitor sends fewer */

/* A request to the kernel, with room for every attribute that is put into one here. */
struct request {
    struct nlmsghdr header;
    union {
        struct ifaddrmsg address;
        struct rtmsg route;
    } body;
    char attributes[256];
};

struct address {
    unsigned char family;
    size_t length;
    unsigned char bytes[MAX_ADDRESS];
};

/* `family` is what it has to be, 0 for either. */
static bool read_address(const char *text, unsigned char family, struct address *found)
{
    bool is_v6 = strchr(text, ':') != NULL;

    found->family = is_v6 ? AF_INET6 : AF_INET;
    found->length = is_v6 ? 16 : 4;
    if ((family == 0 || family == found->family) &&
        inet_pton(found->family, text, found->bytes) == 1)
        return true;
    errno = EINVAL;
    return false;
}

static void put(struct request *request, unsigned short type, const void *data, size_t length)
{
    struct rtattr *attribute = (struct rtattr *)((char *)request + request->header.nlmsg_len);

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(length);
    memcpy(RTA_DATA(attribute), data, length);
    request->header.nlmsg_len += (uint32_t)RTA_SPACE(length);
}

static void put_u32(struct request *request, unsigned short type, uint32_t number)
{
    put(request, type, &number, sizeof number);
}

static void begin(struct request *request, unsigned short type, size_t body)
{
    memset(request, 0, sizeof *request);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
}

/* Send a request; false and errno where the kernel refuses. */
static bool ask(const struct request *request)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[1024];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool done = fd >= 0 && send(fd, request, request->header.nlmsg_len, 0) >= 0 &&
                recv(fd, &answer, sizeof answer, 0) >= (ssize_t)NLMSG_LENGTH(sizeof answer.error);

    if (done && (answer.header.nlmsg_type != NLMSG_ERROR || answer.error.error != 0)) {
        errno = answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EPROTO;
        done = false;
    }
    if (fd >= 0)
        close(fd);
    return done;
}

/* Put the name of the device with this hardware address into `request`. */
static bool find_device(int fd, const unsigned char *mac, struct ifreq *request)
{
    for (unsigned index = 1; index <= MAX_DEVICES; index++) {
        memset(request, 0, sizeof *request);
        if (if_indextoname(index, request->ifr_name) != NULL &&
            ioctl(fd, SIOCGIFHWADDR, request) == 0 &&
            memcmp(request->ifr_hwaddr.sa_data, mac, MAC_BYTES) == 0)
            return true;
    }
    errno = ENODEV;
    return false;
}

static bool change_device(int fd, const unsigned char *mac, uint32_t mtu, const char *name,
                          int rounds)
{
    struct ifreq request;

    if (strlen(name) >= IFNAMSIZ) {
        errno = EINVAL;
        return false;
    }
    while (!find_device(fd, mac, &request)) {
        if (--rounds <= 0)
            return false;
        usleep(ROUND_US);
    }
    if (strcmp(request.ifr_name, name) != 0) {
        strncpy(request.ifr_newname, name, IFNAMSIZ - 1);
        request.ifr_newname[IFNAMSIZ - 1] = '\0';
        if (ioctl(fd, SIOCSIFNAME, &request) < 0)
            return false;
        memcpy(request.ifr_name, request.ifr_newname, IFNAMSIZ);
    }
    request.ifr_mtu = (int)mtu;
    if (ioctl(fd, SIOCSIFMTU, &request) < 0)
        return false;
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return false;
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

/* The monitor plugs devices in when the guest is up: the kernel takes a moment to find them. */
bool set_link(struct fields *fields, bool is_machine, char *error)
{
    uint64_t number = get_u64(fields);
    uint32_t mtu = get_u32(fields);
    const char *name = get_string(fields);
    unsigned char mac[MAC_BYTES];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool done;

    for (int i = 0; i < MAC_BYTES; i++)
        mac[i] = (unsigned char)(number >> 8 * (MAC_BYTES - 1 - i));
    done = fd >= 0 && change_device(fd, mac, mtu, name, is_machine ? DEVICE_ROUNDS : 1);
    if (!done)
        fail(error, "setting up the network device", name);
    if (fd >= 0)
        close(fd);
    return done;
}

bool add_address(struct fields *fields, char *error)
{
    uint32_t prefix = get_u32(fields);
    const char *name = get_string(fields), *local = get_string(fields);
    const char *peer = get_string(fields), *broadcast = get_string(fields);
    struct address own, other, all;
    struct request request;
    bool done = read_address(local, 0, &own) && read_address(peer, own.family, &other) &&
                (*broadcast == '\0' || read_address(broadcast, AF_INET, &all));

    begin(&request, RTM_NEWADDR, sizeof request.body.address);
    if (done) {
        request.body.address = (struct ifaddrmsg){.ifa_family = own.family,
                                                  .ifa_prefixlen = (unsigned char)prefix,
                                                  .ifa_index = if_nametoindex(name)};
        put(&request, IFA_LOCAL, own.bytes, own.length);
        put(&request, IFA_ADDRESS, other.bytes, other.length);
        if (*broadcast != '\0')
            put(&request, IFA_BROADCAST, all.bytes, all.length);
        if (own.family == AF_INET6) /* the host has made sure that nobody else has it */
            put_u32(&request, IFA_FLAGS, IFA_F_NODAD);
        done = ask(&request);
    }
    return done || fail(error, "adding the address", local);
}

bool add_route(struct fields *fields, char *error)
{
    uint32_t prefix = get_u32(fields), metric = get_u32(fields);
    uint32_t scope = get_u32(fields), flags = get_u32(fields);
    const char *name = get_string(fields), *to = get_string(fields);
    const char *through = get_string(fields), *source = get_string(fields);
    struct address destination, gateway, own;
    struct request request;
    bool done = read_address(to, 0, &destination) &&
                (*through == '\0' || read_address(through, destination.family, &gateway)) &&
                (*source == '\0' || read_address(source, destination.family, &own));

    begin(&request, RTM_NEWROUTE, sizeof request.body.route);
    if (done) {
        request.body.route = (struct rtmsg){.rtm_family = destination.family,
                                            .rtm_dst_len = (unsigned char)prefix,
                                            .rtm_table = RT_TABLE_MAIN,
                                            .rtm_protocol = RTPROT_STATIC,
                                            .rtm_scope = (unsigned char)scope,
                                            .rtm_type = RTN_UNICAST,
                                            .rtm_flags = flags};
        put_u32(&request, RTA_OIF, if_nametoindex(name));
        if (prefix > 0)
            put(&request, RTA_DST, destination.bytes, destination.length);
        if (*through != '\0')
            put(&request, RTA_GATEWAY, gateway.bytes, gateway.length);
        if (*source != '\0')
            put(&request, RTA_PREFSRC, own.bytes, own.length);
        if (metric > 0)
            put_u32(&request, RTA_PRIORITY, metric);
        done = ask(&request);
    }
    return done || fail(error, "adding the route to", to);
}
