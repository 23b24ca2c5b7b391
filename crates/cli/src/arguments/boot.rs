use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct BootArguments {
    /// The host goes down: stop every container; those that restart policies name come back at the next boot
    #[arg(long)]
    pub(crate) stop: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InstallBootArguments {
    /// Only show the file and where it would be
    #[arg(long)]
    pub(crate) print: bool,
    /// Take it back; what runs goes on
    #[arg(long, conflicts_with = "print")]
    pub(crate) uninstall: bool,
    /// systemd, openrc, sysv or cron, in place of what this host is found to have
    #[arg(long, value_name = "INIT")]
    pub(crate) init: Option<String>,
}
