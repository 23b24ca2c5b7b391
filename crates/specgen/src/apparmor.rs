//! The AppArmor profile of containers.

/// The profile that containers run under where it is loaded and nobody asks for another.
pub const PROFILE_NAME: &str = "carrack-default";

/// Its text, in the language of apparmor.d(5). As strict as Docker's: everything but mounts, writes to what procfs and sysfs
/// hold of the host, and signals and traces across the border. A second wall behind masks, capabilities and the filter.
pub const PROFILE: &str = r"# Made by carrack: `carrack doctor --install-profile` writes it anew.
abi <abi/3.0>,

profile carrack-default flags=(attach_disconnected,mediate_deleted) {
  network,
  capability,
  file,
  umount,

  # From the host, to stop it; by what Debian and Ubuntu have profiles for too. Among themselves whatever they like.
  signal (receive) peer=unconfined,
  signal (receive) peer=carrack,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send,receive) peer=carrack-default,
  ptrace (trace,read,tracedby,readby) peer=carrack-default,

  deny mount,

  # Of procfs the folders of processes and, below sys, the shm* and msg* of an IPC namespace and what is a network's own.
  deny /proc/* w,
  deny /proc/{[^1-9s]*,s[^ye]*}/** w,
  deny /proc/sys/[^kn]** w,
  deny /proc/sys/kernel/[^sm]** w,
  deny /proc/sys/kernel/s[^he]** w,
  deny /proc/sys/kernel/m[^s]** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Of sysfs the control groups only.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
";
