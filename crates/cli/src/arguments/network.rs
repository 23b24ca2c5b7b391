//! Networks.

use clap::Args;

#[derive(Debug, Args, Default)]
pub(crate) struct NetworkCreateArguments {
    /// bridge is the only one
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// Subnet, for example 10.9.0.0/24; a second one may be IPv6
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Vec<String>,
    /// Gateway in a subnet
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Range to give addresses from, within a subnet
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_range: Vec<String>,
    /// Address of somebody else's, never given to a container
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) aux_address: Vec<String>,
    /// With IPv6 addresses beside IPv4
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = false)]
    pub(crate) ipv6: bool,
    /// With IPv4 addresses, as every network is
    #[arg(hide = true, long, default_missing_value = "true", num_args = 0..=1, require_equals = true, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) ipv4: bool,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// Who manages addresses: default is the only one
    #[arg(long, default_value = "default", value_name = "DRIVER")]
    pub(crate) ipam_driver: String,
    /// Option of who manages addresses: there is none
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) ipam_opt: Vec<String>,
    /// No way out
    #[arg(long)]
    pub(crate) internal: bool,
    /// A mark: every network of carrack's can be connected to by hand
    #[arg(long)]
    pub(crate) attachable: bool,
    /// local is the only one
    #[arg(long, default_value = "local")]
    pub(crate) scope: String,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Its name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct NetworkConnectArguments {
    /// Name on the network
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
    /// Option of the driver
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) driver_opt: Vec<String>,
    /// The network with the highest gives the default route
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    pub(crate) gw_priority: i64,
    /// IPv4 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Another container, with a name that this one alone has for it
    #[arg(long, value_name = "NAME[:ALIAS]")]
    pub(crate) link: Vec<String>,
    /// Further address of the interface
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct NetworkDisconnectArguments {
    /// No error where it is on the network no longer
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The network
    pub(crate) network: String,
    /// The container
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct NetworkRmArguments {
    /// No error where it does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}
