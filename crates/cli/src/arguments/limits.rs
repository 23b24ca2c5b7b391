//! Flags of `run` and `create` that limit what the container takes of the host, beside the common ones.

use clap::Args;

#[derive(Debug, Args, Default)]
pub(crate) struct LimitFlags {
    /// Microseconds in which --cpu-quota holds
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Further limits")]
    pub(crate) cpu_period: Option<u64>,
    /// Microseconds of processor time a period; -1 is unlimited
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, help_heading = "Further limits")]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds in which --cpu-rt-runtime holds
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Further limits")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Microseconds of real-time scheduling a period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, help_heading = "Further limits")]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Memory nodes that may be used: 0-1
    #[arg(long, value_name = "LIST", help_heading = "Further limits")]
    pub(crate) cpuset_mems: Option<String>,
    /// How readily memory is swapped out, 0 to 100; -1 is the host's way
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Further limits")]
    pub(crate) memory_swappiness: Option<i64>,
    /// Have programs wait instead of being killed when memory runs out
    #[arg(long, help_heading = "Further limits")]
    pub(crate) oom_kill_disable: bool,
    /// Weight of input and output on block devices, 10 to 1000; 0 is none
    #[arg(long, value_name = "NUMBER", help_heading = "Further limits")]
    pub(crate) blkio_weight: Option<u16>,
    /// Weight on one block device
    #[arg(long, value_name = "DEVICE:NUMBER", help_heading = "Further limits")]
    pub(crate) blkio_weight_device: Vec<String>,
    /// Bytes a second read from a block device
    #[arg(long, value_name = "DEVICE:SIZE", help_heading = "Further limits")]
    pub(crate) device_read_bps: Vec<String>,
    /// Bytes a second written to a block device
    #[arg(long, value_name = "DEVICE:SIZE", help_heading = "Further limits")]
    pub(crate) device_write_bps: Vec<String>,
    /// Operations a second that read from a block device
    #[arg(long, value_name = "DEVICE:NUMBER", help_heading = "Further limits")]
    pub(crate) device_read_iops: Vec<String>,
    /// Operations a second that write to a block device
    #[arg(long, value_name = "DEVICE:NUMBER", help_heading = "Further limits")]
    pub(crate) device_write_iops: Vec<String>,
    /// Allow devices by a rule: c 1:3 rwm
    #[arg(long, value_name = "RULE", help_heading = "Further limits")]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// Control group to lie in, from the hierarchy's root
    #[arg(long, value_name = "PATH", help_heading = "Further limits")]
    pub(crate) cgroup_parent: Option<String>,
}
