//! Flags of `run` and `create` that Docker has and carrack answers with a reason.

use clap::Args;

#[derive(Debug, Args, Default)]
pub(crate) struct RefusedFlags {
    #[arg(long, hide = true)]
    pub(crate) cpu_count: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_percent: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) io_maxbandwidth: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) io_maxiops: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) kernel_memory: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) gpus: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) storage_opt: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) userns: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) volume_driver: Option<String>,
    #[arg(long, hide = true, action = clap::ArgAction::SetTrue)]
    pub(crate) use_api_socket: bool,
    #[arg(long, hide = true)]
    pub(crate) link_local_ip: Vec<String>,
}

/// Why a flag is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It never will be: the kernel, security or the scope of carrack stands against it.
    Never(&'static str),
    /// It is to come.
    NotYet(&'static str),
}

/// Every flag of [`RefusedFlags`], in the order of their names.
pub(crate) const REFUSED: [(&str, Why); 12] = [
    ("cpu-count", Why::Never("it exists for Windows containers only")),
    ("cpu-percent", Why::Never("it exists for Windows containers only")),
    ("gpus", Why::NotYet("devices of other drivers come by the container device interface: give --device meanwhile")),
    ("io-maxbandwidth", Why::Never("it exists for Windows containers only")),
    ("io-maxiops", Why::Never("it exists for Windows containers only")),
    ("isolation", Why::Never("Linux has no other technology than `default`")),
    ("kernel-memory", Why::Never("Linux has no limit of its own for it since 5.16: --memory counts it")),
    ("link-local-ip", Why::NotYet("a container has one address of each family on a network")),
    ("storage-opt", Why::NotYet("the size of a container's files is not limited")),
    ("use-api-socket", Why::Never("there is no daemon whose socket could be mounted")),
    ("userns", Why::NotYet("the identities of a container are those of the host: `host`")),
    ("volume-driver", Why::NotYet("there are local volumes only")),
];

impl RefusedFlags {
    /// The flag that is given and asks for something else than what is so anyway, with its value.
    pub(crate) fn given(&self) -> Option<(&'static str, String)> {
        let one = |value: &Option<String>, harmless: &[&str]| {
            value.clone().filter(|value| !value.is_empty() && !harmless.contains(&value.as_str()))
        };
        let first = |values: &[String]| values.first().cloned();
        [
            ("cpu-count", one(&self.cpu_count, &["0"])),
            ("cpu-percent", one(&self.cpu_percent, &["0"])),
            ("gpus", one(&self.gpus, &[])),
            ("io-maxbandwidth", one(&self.io_maxbandwidth, &["0"])),
            ("io-maxiops", one(&self.io_maxiops, &["0"])),
            ("isolation", one(&self.isolation, &["default"])),
            ("kernel-memory", one(&self.kernel_memory, &["0"])),
            ("link-local-ip", first(&self.link_local_ip)),
            ("storage-opt", first(&self.storage_opt)),
            ("use-api-socket", self.use_api_socket.then(|| "true".to_owned())),
            ("userns", one(&self.userns, &["host"])),
            ("volume-driver", one(&self.volume_driver, &["local"])),
        ]
        .into_iter()
        .find_map(|(name, value)| Some((name, value?)))
    }
}
