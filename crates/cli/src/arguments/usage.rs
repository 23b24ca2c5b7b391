//! What containers may use and do use: `update`, `top`, `stats`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// Weight of block devices, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub(crate) blkio_weight: Option<u16>,
    /// Microseconds in which the processor quota holds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Microseconds of processor time a period; -1 is unlimited
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds in which the real-time limit holds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Microseconds of real-time scheduling a period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// Weight of the processors, 1024 is one
    #[arg(short = 'c', long, value_name = "NUMBER")]
    pub(crate) cpu_shares: Option<u64>,
    /// Processors
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Processors that may be used: 0-1,3
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes that may be used: 0-1
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// Limit of memory and swap together; -1 is unlimited
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Limit of processes; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// A container, or a service of the project
    pub(crate) name: String,
    /// Options of ps: aux, -ef, -o pid,user,args
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArguments {
    /// Those too that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// `table`, `table TEMPLATE`, `json`, or a Go template: {{.Name}} {{.CPUPerc}} {{.MemUsage}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Print once and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Do not cut ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Names or ids; all that run without
    pub(crate) names: Vec<String>,
}
