//! What `doctor` finds: an entry of `carrack explain` each.

use carrack_diag::Code;

pub(crate) static USER: Code = Code {
    id: "doctor/user",
    title: "not run as root",
    cause: "Containers need namespaces, mounts and networks that only root may make; without root, only files are analysed.",
    check: "Run `id -u`: root is 0.",
    fix: "Run it as root or with sudo.",
};

pub(crate) static KERNEL: Code = Code {
    id: "doctor/kernel",
    title: "the kernel is too old",
    cause: "Mounts by descriptor and what else carrack uses came with Linux 6.1 or before.",
    check: "Run `uname -r`.",
    fix: "Boot a kernel of 6.1 or later, as Debian 12 has.",
};

pub(crate) static NAMESPACES: Code = Code {
    id: "doctor/namespaces",
    title: "kinds of namespaces are missing",
    cause: "The kernel was built without them, or hides them from this process.",
    check: "List `/proc/self/ns`.",
    fix: "Boot a kernel that is built with them, as distributions' are.",
};

pub(crate) static NETWORK: Code = Code {
    id: "doctor/network",
    title: "no network namespace can be made",
    cause: "This process lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, as in a container without them.",
    check: "Run `unshare --net true`.",
    fix: "Run carrack on the host itself, or give the container those capabilities.",
};

pub(crate) static LINKS: Code = Code {
    id: "doctor/links",
    title: "no bridge or veth can be made",
    cause: "The kernel's modules for them are missing or may not be loaded.",
    check: "Run `ip link add type bridge` in a network namespace of your own.",
    fix: "Run `modprobe bridge && modprobe veth`.",
};

pub(crate) static PACKET_FILTER: Code = Code {
    id: "doctor/packet-filter",
    title: "the packet filter can't be used",
    cause: "The kernel's nf_tables is missing or may not be loaded.",
    check: "Run `nft list ruleset`.",
    fix: "Run `modprobe nf_tables && modprobe nft_chain_nat && modprobe nft_masq`.",
};

pub(crate) static OVERLAY: Code = Code {
    id: "doctor/overlay",
    title: "the kernel has no overlay file system",
    cause: "The module is missing or not loaded.",
    check: "Look for it in `/proc/filesystems`.",
    fix: "Run `modprobe overlay`.",
};

pub(crate) static CGROUPS: Code = Code {
    id: "doctor/cgroups",
    title: "control groups can't be used",
    cause: "Nothing is mounted at /sys/fs/cgroup, or it may not be read.",
    check: "Run `mount -t cgroup2` and `mount -t cgroup`.",
    fix: "Run `mount -t cgroup2 cgroup2 /sys/fs/cgroup`.",
};

pub(crate) static CONTROLLERS: Code = Code {
    id: "doctor/controllers",
    title: "controllers of control groups are missing",
    cause: "The kernel was booted without them, or whoever runs this machine has not delegated them.",
    check: "Look at `/proc/cgroups`, or at `/sys/fs/cgroup/cgroup.controllers`.",
    fix: "Boot without `cgroup_disable=`, or with `cgroup_enable=memory` where the kernel asks for it. Without a controller, the limits that need it are refused.",
};

pub(crate) static SWAP: Code = Code {
    id: "doctor/swap",
    title: "swap is not counted",
    cause: "The kernel was booted without accounting of swap.",
    check: "Look for `memory.memsw.limit_in_bytes` or `memory.swap.max` in a control group.",
    fix: "Boot with `swapaccount=1`; until then `--memory-swap` can't be enforced.",
};

pub(crate) static SECCOMP: Code = Code {
    id: "doctor/seccomp",
    title: "the kernel filters no system calls",
    cause: "It was built without CONFIG_SECCOMP_FILTER.",
    check: "Look for `/proc/sys/kernel/seccomp/actions_avail`.",
    fix: "Boot a kernel that is built with it, as distributions' are.",
};

pub(crate) static DATA_ROOT: Code = Code {
    id: "doctor/data-root",
    title: "the data root can't be used",
    cause: "It may not be written to, or lies on an overlay, over which no other can be laid.",
    check: "Run `stat -f` on it.",
    fix: "Name another folder with `--root`, on a disk or a volume.",
};

pub(crate) static RUN_ROOT: Code = Code {
    id: "doctor/run-root",
    title: "the run root can't be used",
    cause: "It may not be written to.",
    check: "Run `ls -ld` on it.",
    fix: "Name another folder with `--run-root`.",
};

pub(crate) static LAYERS: Code = Code {
    id: "doctor/layers",
    title: "layers can't be kept as one file",
    cause: "The kernel can't mount a file as EROFS (Linux 6.12 can), or the file system of the data root can't be mounted from, \
            as one in memory can't.",
    check: "Run `modprobe erofs`, and `stat -f` on the data root; the message says what a trial failed at.",
    fix: "Nothing has to be done: all layers are unpacked then, and copying many files into an image takes longer. Boot a kernel of \
          6.12 or later, or have the data root on ext4, XFS or Btrfs, where that matters.",
};

pub(crate) static DISK: Code = Code {
    id: "doctor/disk",
    title: "the disk is nearly full",
    cause: "Images, logs, volumes or files of others fill the file system of the data root.",
    check: "Run `carrack system df --verbose` and `df -h` and `df -i`.",
    fix: "Run `carrack system prune`, bound logs with `--log-opt max-size=`, or make the file system larger.",
};

pub(crate) static FORWARDING: Code = Code {
    id: "doctor/forwarding",
    title: "the host forwards no packets yet",
    cause: "The kernel's switch for it is off.",
    check: "Run `sysctl net.ipv4.ip_forward`.",
    fix: "Nothing is to be done: carrack turns it on with the first network, and closes what others did not ask for.",
};

pub(crate) static OTHER_FIREWALLS: Code = Code {
    id: "doctor/other-firewalls",
    title: "another firewall drops what containers send",
    cause: "A drop in any chain is final, whatever other chains accept.",
    check: "Run `nft list ruleset` and look for the chain that the message names.",
    fix: "Add the rule that the message names at the place that it names.",
};

pub(crate) static APPARMOR: Code = Code {
    id: "doctor/apparmor",
    title: "AppArmor does not hold containers",
    cause: "The kernel was built or booted without it, or the profile of containers is not loaded.",
    check: "Run `cat /sys/module/apparmor/parameters/enabled`; where it says Y, `grep carrack /sys/kernel/security/apparmor/profiles`.",
    fix: "Load the profile with `carrack doctor --install-profile`. Where AppArmor is off nothing has to be done: containers have one wall less; boot with `apparmor=1 security=apparmor` to have it.",
};

pub(crate) static LEFTOVERS: Code = Code {
    id: "doctor/leftovers",
    title: "something was left over",
    cause: "A command, a shim or the machine was killed, and nothing has changed anything since; or something else took a record away.",
    check: "Run `carrack doctor --leaks`: it says of each what it is and what removes it.",
    fix: "Run any command that changes something: it puts away what it can account for. The rest goes by the command that is named.",
};

pub(crate) static ALL: &[&Code] = &[
    &USER,
    &KERNEL,
    &NAMESPACES,
    &NETWORK,
    &LINKS,
    &PACKET_FILTER,
    &OVERLAY,
    &CGROUPS,
    &CONTROLLERS,
    &SWAP,
    &SECCOMP,
    &DATA_ROOT,
    &RUN_ROOT,
    &LAYERS,
    &DISK,
    &FORWARDING,
    &OTHER_FIREWALLS,
    &APPARMOR,
    &LEFTOVERS,
];
