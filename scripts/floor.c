// What the kernel alone needs for one container, by the calls that cannot be left out: control groups with device rules,
// namespaces, an overlay, the usual mounts and devices, a veth in a bridge with address and route, capabilities, a
// seccomp filter, execve, and all of it away again. No image, no record, no log, nobody who waits in the background.
//
//   cc -O2 -o floor scripts/floor.c && ./floor FOLDER STATIC_BUSYBOX default|none|host RUNS
//
// Prints the wall milliseconds of each run, a line each. Wants root, and leaves nothing.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(1);
    }
}

static void write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    must(file >= 0, path);
    must(write(file, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(file);
}

// One request of the routing socket: a header, a body, attributes that may hold others.
struct request {
    struct nlmsghdr header;
    char rest[1024];
};

static void begin(struct request *request, int type, int flags, const void *body, size_t length) {
    memset(request, 0, sizeof *request);
    request->header.nlmsg_len = NLMSG_LENGTH(length);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    memcpy(NLMSG_DATA(&request->header), body, length);
}

static struct rtattr *attribute(struct request *request, int type, const void *data, size_t length) {
    struct rtattr *made = (void *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    made->rta_type = type;
    made->rta_len = RTA_LENGTH(length);
    if (length)
        memcpy(RTA_DATA(made), data, length);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(made->rta_len);
    return made;
}

static void end(struct request *request, struct rtattr *nest) {
    nest->rta_len = (char *)request + request->header.nlmsg_len - (char *)nest;
}

static void ask(int netlink, struct request *request, const char *what) {
    char answer[4096];
    must(send(netlink, request, request->header.nlmsg_len, 0) > 0, what);
    must(recv(netlink, answer, sizeof answer, 0) > 0, what);
    struct nlmsghdr *header = (void *)answer;
    errno = header->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(header))->error : 0;
    must(errno == 0, what);
}

static int routing_socket(void) {
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    must(netlink >= 0, "netlink");
    return netlink;
}

static void bring_up(int netlink, int index) {
    struct ifinfomsg link = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct request request;
    begin(&request, RTM_NEWLINK, 0, &link, sizeof link);
    ask(netlink, &request, "bring a link up");
}

static void give_address(int netlink, int index, uint32_t address) {
    struct ifaddrmsg body = {.ifa_family = AF_INET, .ifa_prefixlen = 16, .ifa_index = index};
    struct request request;
    address = htonl(address);
    begin(&request, RTM_NEWADDR, NLM_F_CREATE, &body, sizeof body);
    attribute(&request, IFA_LOCAL, &address, sizeof address);
    attribute(&request, IFA_ADDRESS, &address, sizeof address);
    ask(netlink, &request, "give an address");
}

static const uint32_t GATEWAY = 0x0a3b0001;

static int make_bridge(void) {
    int netlink = routing_socket();
    struct ifinfomsg link = {0};
    struct request request;
    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    attribute(&request, IFLA_IFNAME, "floor0", 7);
    struct rtattr *info = attribute(&request, IFLA_LINKINFO, NULL, 0);
    attribute(&request, IFLA_INFO_KIND, "bridge", 6);
    end(&request, info);
    ask(netlink, &request, "make a bridge");
    int index = if_nametoindex("floor0");
    give_address(netlink, index, GATEWAY);
    bring_up(netlink, index);
    close(netlink);
    return index;
}

// It goes with the namespace that has its other end.
static void make_veth(int bridge, int namespace) {
    static int number;
    char name[IFNAMSIZ];
    snprintf(name, sizeof name, "floor-%d", number++);
    int netlink = routing_socket();
    struct ifinfomsg link = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, peer = {0};
    uint32_t queues = 1;
    struct request request;
    begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    attribute(&request, IFLA_IFNAME, name, strlen(name) + 1);
    attribute(&request, IFLA_MASTER, &bridge, sizeof bridge);
    attribute(&request, IFLA_NUM_TX_QUEUES, &queues, sizeof queues);
    attribute(&request, IFLA_NUM_RX_QUEUES, &queues, sizeof queues);
    struct rtattr *info = attribute(&request, IFLA_LINKINFO, NULL, 0);
    attribute(&request, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = attribute(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = attribute(&request, VETH_INFO_PEER, NULL, 0);
    memcpy((char *)&request + request.header.nlmsg_len, &peer, sizeof peer);
    request.header.nlmsg_len += sizeof peer;
    attribute(&request, IFLA_IFNAME, "eth0", 5);
    attribute(&request, IFLA_NET_NS_FD, &namespace, sizeof namespace);
    attribute(&request, IFLA_NUM_TX_QUEUES, &queues, sizeof queues);
    attribute(&request, IFLA_NUM_RX_QUEUES, &queues, sizeof queues);
    end(&request, other);
    end(&request, data);
    end(&request, info);
    ask(netlink, &request, "make a veth");
    close(netlink);
}

static void configure_network(void) {
    int netlink = routing_socket();
    bring_up(netlink, 1);
    int index = if_nametoindex("eth0");
    give_address(netlink, index, GATEWAY + 1);
    bring_up(netlink, index);
    struct rtmsg body = {.rtm_family = AF_INET,
                         .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_BOOT,
                         .rtm_scope = RT_SCOPE_UNIVERSE,
                         .rtm_type = RTN_UNICAST};
    uint32_t gateway = htonl(GATEWAY);
    struct request request;
    begin(&request, RTM_NEWROUTE, NLM_F_CREATE, &body, sizeof body);
    attribute(&request, RTA_GATEWAY, &gateway, sizeof gateway);
    ask(netlink, &request, "make a route");
    close(netlink);
}

// The hierarchies that an engine limits a container in: of version 1 where they are mounted, else the unified one.
static const char *CONTROLLERS[] = {"memory", "cpu", "pids", "devices", "cpuset", "freezer", "blkio"};
enum { CONTROLLER_COUNT = sizeof CONTROLLERS / sizeof *CONTROLLERS };

static int group_path(int number, char *path, size_t size, const char *file) {
    snprintf(path, size, "/sys/fs/cgroup/%s", CONTROLLERS[number]);
    if (access(path, F_OK) != 0) {
        if (number > 0)
            return 0;
        snprintf(path, size, "/sys/fs/cgroup");
    }
    snprintf(path + strlen(path), size - strlen(path), "/floor%s%s", *file ? "/" : "", file);
    return 1;
}

static void make_groups(void) {
    char path[256];
    for (int number = 0; number < CONTROLLER_COUNT; number++)
        if (group_path(number, path, sizeof path, ""))
            must(mkdir(path, 0755) == 0, path);
    const char *rules[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
                           "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
    if (group_path(3, path, sizeof path, "devices.deny")) {
        write_file(path, "a");
        group_path(3, path, sizeof path, "devices.allow");
        for (size_t rule = 0; rule < sizeof rules / sizeof *rules; rule++)
            write_file(path, rules[rule]);
    }
    // A new group of cpusets is empty, and takes nobody before it has what its parent has.
    for (int half = 0; half < 2; half++) {
        const char *name = half ? "cpuset.mems" : "cpuset.cpus";
        char parent[128], text[256];
        snprintf(parent, sizeof parent, "/sys/fs/cgroup/cpuset/%s", name);
        int file = open(parent, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        ssize_t length = read(file, text, sizeof text - 1);
        close(file);
        text[length > 0 ? length : 0] = 0;
        if (group_path(4, path, sizeof path, name))
            write_file(path, text);
    }
}

static void join_groups(pid_t process) {
    char path[256], text[16];
    snprintf(text, sizeof text, "%d", process);
    for (int number = 0; number < CONTROLLER_COUNT; number++)
        if (group_path(number, path, sizeof path, "cgroup.procs"))
            write_file(path, text);
}

static void remove_groups(void) {
    char path[256];
    for (int number = 0; number < CONTROLLER_COUNT; number++)
        if (group_path(number, path, sizeof path, ""))
            while (rmdir(path) != 0)
                must(errno == EBUSY, path);
}

static char lower[512], upper[512], work[512], merged[512];

static void make_root(void) {
    char options[2048];
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "private mounts");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
    must(mount("overlay", merged, "overlay", 0, options) == 0 && chdir(merged) == 0, "overlay");
    int common = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    must(mount("proc", "proc", "proc", common, NULL) == 0, "proc");
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k") == 0, "dev");
    mkdir("dev/pts", 0755), mkdir("dev/shm", 01777), mkdir("dev/mqueue", 0755);
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") == 0, "pts");
    must(mount("shm", "dev/shm", "tmpfs", common, "mode=1777,size=65536k") == 0, "shm");
    must(mount("mqueue", "dev/mqueue", "mqueue", common, NULL) == 0, "mqueue");
    mount("sysfs", "sys", "sysfs", common | MS_RDONLY, NULL);
    const struct { const char *path; int major, minor; } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},
                                                                    {"dev/full", 1, 7},   {"dev/random", 1, 8},
                                                                    {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    for (size_t node = 0; node < sizeof nodes / sizeof *nodes; node++)
        must(mknod(nodes[node].path, S_IFCHR | 0666, makedev(nodes[node].major, nodes[node].minor)) == 0, "mknod");
    must(syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "pivot_root");
}

// As long as an engine's usual profile, and allows all: a filter costs by its length, whatever it says.
static void confine(void) {
    static struct sock_filter filter[340];
    size_t length = 0, last = sizeof filter / sizeof *filter - 1;
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (; length < last; length++)
        filter[length] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 100000 + (uint32_t)length, 0, 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = length, .filter = filter};
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        if (capability > 13)
            must(prctl(PR_CAPBSET_DROP, capability) == 0, "drop a capability");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0x3fff, 0x3fff, 0}, {0, 0, 0}};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
    must(syscall(SYS_capset, &header, data) == 0, "capset");
}

static double once(const char *network, int bridge) {
    struct timespec start, stop;
    int ready[2], pidfd;
    uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PIDFD;
    if (strcmp(network, "host") != 0)
        flags |= CLONE_NEWNET;
    clock_gettime(CLOCK_MONOTONIC, &start);
    mkdir(upper, 0755), mkdir(work, 0755);
    make_groups();
    must(pipe2(ready, O_CLOEXEC) == 0, "pipe");
    struct clone_args arguments = {.flags = flags, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid_t child = syscall(SYS_clone3, &arguments, sizeof arguments);
    must(child >= 0, "clone3");
    if (child == 0) {
        char byte;
        must(read(ready[0], &byte, 1) == 1, "wait for the parent");
        if (bridge)
            configure_network();
        make_root();
        confine();
        execl("/bin/busybox", "true", (char *)NULL);
        must(0, "execve");
    }
    join_groups(child);
    if (bridge) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/net", child);
        int namespace = open(path, O_RDONLY | O_CLOEXEC);
        make_veth(bridge, namespace);
        close(namespace);
    }
    must(write(ready[1], "x", 1) == 1, "tell the child");
    int status;
    must(waitpid(child, &status, 0) == child && status == 0, "the container");
    remove_groups();
    char inner[600];
    snprintf(inner, sizeof inner, "%s/work", work);
    rmdir(inner), rmdir(work), rmdir(upper);
    clock_gettime(CLOCK_MONOTONIC, &stop);
    close(ready[0]), close(ready[1]), close(pidfd);
    return (stop.tv_sec - start.tv_sec) * 1e3 + (stop.tv_nsec - start.tv_nsec) / 1e6;
}

int main(int count, char **words) {
    must(count == 5, "usage: floor FOLDER STATIC_BUSYBOX default|none|host RUNS");
    snprintf(lower, sizeof lower, "%s/lower", words[1]);
    snprintf(upper, sizeof upper, "%s/upper", words[1]);
    snprintf(work, sizeof work, "%s/work", words[1]);
    snprintf(merged, sizeof merged, "%s/merged", words[1]);
    const char *folders[] = {"", "/bin", "/dev", "/proc", "/sys"};
    char path[600];
    mkdir(words[1], 0755), mkdir(merged, 0755);
    for (size_t folder = 0; folder < sizeof folders / sizeof *folders; folder++) {
        snprintf(path, sizeof path, "%s%s", lower, folders[folder]);
        mkdir(path, 0755);
    }
    char command[1400];
    snprintf(command, sizeof command, "cp '%s' '%s/bin/busybox'", words[2], lower);
    must(system(command) == 0, "copy busybox");
    // The bridge and its veths live and die in a namespace of their own.
    int bridge = 0;
    if (strcmp(words[3], "host") != 0)
        must(unshare(CLONE_NEWNET) == 0, "unshare");
    if (strcmp(words[3], "default") == 0)
        bridge = make_bridge();
    once(words[3], bridge);
    for (int run = atoi(words[4]); run > 0; run--)
        printf("%.3f\n", once(words[3], bridge));
}
