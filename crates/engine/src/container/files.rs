//! What a container finds mounted: volumes, binds, secrets, configs, and the three files of /etc that Docker makes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Endpoint, host_resolvers, hosts_file, resolv_conf};
use carrack_specgen::Source;
use carrack_specgen::container::{File, MountSource, NamespaceMode, NetworkMode};
use carrack_store::Image;

use super::{ContainerRecord, propagation};
use crate::codes;
use crate::engine::{Engine, host_error};

impl Engine {
    /// The host's path behind each target. Volumes are made and filled, files of the vault are laid out in `run`.
    pub(crate) fn sources(
        &self,
        record: &ContainerRecord,
        image: &Image,
        run: &Path,
    ) -> Result<BTreeMap<String, Source>> {
        let mut sources = BTreeMap::new();
        for mount in &record.container.mounts {
            match &mount.source {
                MountSource::Volume { subpath, no_copy, settings, .. } => {
                    let Some(used) = record.volumes.get(&mount.target) else { continue };
                    // Only a whole volume is filled with what the image has, as in Docker. The folder below it is
                    // looked for by init, which stays below it.
                    let volume = self.make_volume(&used.name, used.anonymous, settings)?;
                    self.attach_volume(&volume, run)?;
                    let root = self.store.volume_data(&used.name)?;
                    if !*no_copy && subpath.is_empty() {
                        self.fill(image, &mount.target, &used.name, &root)?;
                    }
                    let path = root.to_string_lossy().into_owned();
                    sources.insert(mount.target.clone(), Source { path, read_only: mount.read_only });
                }
                MountSource::Bind { path, create, propagation, .. } => {
                    check_bind(record, path, *create)?;
                    propagation::check(&record.name, path, propagation.as_deref())?;
                }
                MountSource::Image { .. } => {
                    let path = self.image_mountpoint(record, &mount.target, run)?;
                    sources.insert(mount.target.clone(), Source { path, read_only: true });
                }
                MountSource::Tmpfs { .. } => {}
            }
        }
        for (index, file) in record.container.files.iter().enumerate() {
            let path = self.lay_out(file, &run.join("files"), index)?;
            sources.insert(file.target.clone(), Source { path, read_only: true });
        }
        Ok(sources)
    }

    /// An empty volume receives what the image holds at the target; one for /etc also the files that Docker's containers
    /// have there, which could not be made where it is mounted read-only.
    fn fill(&self, image: &Image, target: &str, volume: &str, data: &Path) -> Result<()> {
        let is_filled = self.store.populate_volume(volume, &self.store.view(image.chain())?, Path::new(target))?;
        if !is_filled || Path::new(target) != Path::new("/etc") {
            return Ok(());
        }
        for name in ["hostname", "hosts", "resolv.conf"] {
            let path = data.join(name);
            let mut options = std::fs::OpenOptions::new();
            match options.write(true).create_new(true).mode(0o644).open(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(host_error(format!("can't write {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A file of the vault, with the owner and mode that the container asked for.
    fn lay_out(&self, file: &File, folder: &Path, index: usize) -> Result<String> {
        let failed = |error: std::io::Error| host_error(format!("can't lay out {}", file.name), error);
        let mut version = self.store.open_version(&file.version.parse()?)?;
        std::fs::create_dir_all(folder).map_err(failed)?;
        // Below the container's folder, which is root's alone: only the mount makes it visible.
        let path = folder.join(index.to_string());
        let mut options = std::fs::OpenOptions::new();
        let mut opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
        std::io::copy(&mut version, &mut opened).map_err(failed)?;
        chown(&path, Some(file.uid), Some(file.gid)).map_err(failed)?;
        opened.set_permissions(std::fs::Permissions::from_mode(file.mode)).map_err(failed)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Writes hosts, hostname and resolv.conf into `run`, as Docker makes them. None of them where the host's namespaces
    /// are shared and its own files are shown instead.
    pub(crate) fn write_etc(&self, record: &ContainerRecord, endpoints: &[Endpoint], run: &Path) -> Result<()> {
        let container = &record.container;
        let write = |name: &str, content: String| {
            let path = run.join(name);
            std::fs::write(&path, content)
                .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)))
                .map_err(|error| host_error(format!("can't write {}", path.display()), error))
        };
        let host_network = container.network == NetworkMode::Host;
        let hostname = hostname_of(record);
        write("hostname", format!("{hostname}\n"))?;
        let full_name = match &container.domainname {
            Some(domain) => format!("{hostname}.{domain}"),
            None => hostname.clone(),
        };
        let mut names = vec![full_name.as_str()];
        if full_name != hostname {
            names.push(&hostname);
        }
        let extra = extra_hosts(record, endpoints)?;
        let hosts = if host_network {
            let mut hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            for (name, address) in &extra {
                hosts.push_str(&format!("{address}\t{name}\n"));
            }
            hosts
        } else {
            let addresses: Vec<IpAddr> = endpoints.iter().flat_map(Endpoint::addresses).collect();
            hosts_file(&names, &addresses, &extra)
        };
        write("hosts", hosts)?;
        write("resolv.conf", self.resolver_configuration(record)?)
    }

    /// Our resolver where there are networks of ours; else the servers asked for, or the host's file as it is.
    fn resolver_configuration(&self, record: &ContainerRecord) -> Result<String> {
        let container = &record.container;
        let on_networks = matches!(&container.network, NetworkMode::Networks(all) if !all.is_empty());
        if !on_networks && container.dns.is_empty() && container.dns_search.is_empty() {
            return Ok(std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        }
        let host = host_resolvers().unwrap_or_default();
        let search = if container.dns_search.is_empty() { &host.search } else { &container.dns_search };
        let options = if container.dns_options.is_empty() { &host.options } else { &container.dns_options };
        if on_networks {
            return Ok(resolv_conf(search, options));
        }
        let servers = if container.dns.is_empty() { &host.servers } else { &container.dns };
        let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        if !search.is_empty() {
            text.push_str(&format!("search {}\n", search.join(" ")));
        }
        if !options.is_empty() {
            text.push_str(&format!("options {}\n", options.join(" ")));
        }
        Ok(text)
    }
}

/// What a container is called inside: as asked for, else as the host or by its short id.
pub(crate) fn hostname_of(record: &ContainerRecord) -> String {
    let container = &record.container;
    let is_the_hosts = container.network == NetworkMode::Host || container.uts == NamespaceMode::Host;
    match &container.hostname {
        Some(name) => name.clone(),
        None if is_the_hosts => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        None => record.short_id().to_owned(),
    }
}

/// Lines for /etc/hosts that were asked for; `host-gateway` is the host as the container reaches it.
fn extra_hosts(record: &ContainerRecord, endpoints: &[Endpoint]) -> Result<Vec<(String, IpAddr)>> {
    let gateway = endpoints.iter().find(|endpoint| !endpoint.internal).map(|endpoint| IpAddr::V4(endpoint.gateway));
    let hosts = record.container.extra_hosts.iter().map(|(name, address)| {
        let address = match (address.as_str(), gateway) {
            ("host-gateway", Some(gateway)) => gateway,
            ("host-gateway", None) => IpAddr::from([127, 0, 0, 1]),
            (text, _) => text.parse().map_err(|_| {
                Diagnostic::error(&codes::HOST, format!("{}: `{text}` is no address for {name}", record.name)).boxed()
            })?,
        };
        Ok((name.clone(), address))
    });
    hosts.collect()
}

fn check_bind(record: &ContainerRecord, path: &str, create: bool) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => std::fs::create_dir_all(path)
            .map_err(|error| host_error(format!("{}: can't make the folder {path}", record.name), error)),
        Err(error) => {
            let message = format!("{}: the source of a bind mount can't be used: {path}", record.name);
            Err(Diagnostic::error(&codes::NO_BIND_SOURCE, message)
                .cause(error.to_string())
                .hint("create it, or correct the path; relative paths count from the project's folder")
                .boxed())
        }
    }
}
