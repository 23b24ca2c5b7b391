//! Containers that another runtime makes: what stands in the bundle for it, and what has to stand on the host before.

use carrack_diag::Result;
use carrack_oci::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::container::{Container, Identities};
use crate::init_plan::{InitPlan, InitStep, MountAttributes, MountSource, MountStep, NamespaceKind, Propagation};
use crate::plan::{Launch, has_option, propagation_of};
use crate::spec::invalid;

/// What `--runtime` and `runtime:` call our own.
pub const OWN: &str = "carrack";

/// What Docker's users write for "the one that is used anyway".
const OWN_TOO: [&str; 2] = ["io.containerd.runc.v2", "default"];

/// Runtimes whose containers are virtual machines or kernels of their own, by what their programs begin with.
const NO_NAMESPACES: [&str; 3] = ["runsc", "kata", "krun"];

/// How another runtime is called for one container. Paths are the host's and absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The program, which takes runc's command line.
    pub program: String,
    /// Name of the container.
    pub id: String,
    /// Folder that all of it is in: the bundle, the runtime's own state, its log. Nobody else's (0700).
    pub folder: String,
    /// File with the configuration as [`plan`] returns it.
    pub template: String,
}

impl External {
    /// The OCI bundle.
    pub fn bundle(&self) -> String {
        format!("{}/bundle", self.folder)
    }

    /// Where the runtime keeps what it knows of the container.
    pub fn state(&self) -> String {
        format!("{}/state", self.folder)
    }

    /// Where it says what went wrong.
    pub fn log(&self) -> String {
        format!("{}/log", self.folder)
    }

    /// Where it says which process the container is.
    pub fn pid_file(&self) -> String {
        format!("{}/pid", self.folder)
    }
}

/// The external runtime that a name stands for: none is our own.
pub fn named(runtime: &str) -> Option<String> {
    let is_own = runtime.is_empty() || runtime == OWN || OWN_TOO.contains(&runtime);
    (!is_own).then(|| runtime.to_owned())
}

/// What an external runtime can't do for us, and names that are none.
pub(crate) fn check(container: &Container) -> Result<()> {
    let Some(runtime) = &container.runtime else { return Ok(()) };
    let attempt = || format!("run the container by {runtime:?}");
    let program = runtime.rsplit('/').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if runtime.contains('/') && !runtime.starts_with('/') {
        return Err(invalid(
            attempt(),
            "the path of a runtime must be absolute: another folder would find another one",
        ));
    }
    let is_name = runtime.bytes().all(is_plain) && !runtime.starts_with(['-', '.']);
    if !is_name && !runtime.starts_with('/') {
        return Err(invalid(attempt(), "a runtime is `carrack`, the name of a program, or an absolute path"));
    }
    if program.starts_with("io.containerd.") {
        return Err(invalid(
            attempt(),
            "that names a shim of containerd's; carrack has its own shim, and calls the program behind it: `runc`, `crun`",
        ));
    }
    if NO_NAMESPACES.iter().any(|known| program.starts_with(known)) {
        return Err(invalid(
            attempt(),
            "its containers are no namespaces of this kernel, so `exec`, `cp`, `top`, `stats` and health checks would not \
             reach into them",
        ));
    }
    if container.init {
        return Err(invalid(
            format!("have a small init as the first process (--init) under the runtime {runtime}"),
            "that init is a part of carrack's own runtime, and no program that another one could find in the image",
        ));
    }
    Ok(())
}

/// What has to stand before the runtime is called, up to the bundle; and the configuration that the bundle is made of.
///
/// The whole is done in a mount namespace of its own, which the runtime is then called in: root and layers are seen by
/// nobody else. `group` is the path of the control group from the mount point of its hierarchy on.
pub fn plan(spec: &Spec, launch: &Launch, external: &External, group: &str) -> (Spec, InitPlan) {
    let mut spec = spec.clone();
    spec.linux.cgroups_path = format!("/{}", group.trim_start_matches('/'));
    // Older runtimes don't know the field; all know the parameter, which Docker sets too.
    let domainname = std::mem::take(&mut spec.domainname);
    if !domainname.is_empty() && !spec.hostname.is_empty() {
        spec.linux.sysctl.insert("kernel.domainname".to_owned(), domainname);
    }
    spec.linux.sysctl =
        std::mem::take(&mut spec.linux.sysctl).into_iter().map(|(name, value)| (dotted(&name), value)).collect();

    let mut shared = Vec::new();
    let mut staged = Vec::new();
    let mut receives = false;
    for (number, mount) in spec.mounts.iter_mut().enumerate().filter(|(_, mount)| mount.kind == "bind") {
        let propagation = propagation_of(mount);
        receives |= matches!(propagation, Propagation::Slave | Propagation::SlaveRecursive);
        let is_shared = matches!(propagation, Propagation::Shared | Propagation::SharedRecursive);
        let subpath = launch.subpaths.get(&mount.destination).cloned().unwrap_or_default();
        let (uids, gids) = (std::mem::take(&mut mount.uid_mappings), std::mem::take(&mut mount.gid_mappings));
        let identities = (!uids.is_empty() || !gids.is_empty()).then_some(Identities { uids, gids });
        // Done by us: older runtimes know nothing of it, and would show the owners as they are.
        mount.options.retain(|option| option != "idmap");
        if !is_shared && subpath.is_empty() && identities.is_none() {
            continue;
        }
        let recursive = has_option(mount, "rbind");
        if is_shared {
            shared.push((mount.source.clone(), recursive));
        }
        let target = format!("{}/binds/{number}", external.folder);
        let path = std::mem::replace(&mut mount.source, target.clone());
        staged.push(InitStep::Mount(MountStep {
            target,
            source: MountSource::Bind { path, subpath, recursive },
            attributes: MountAttributes::default(),
            propagation,
            identities,
        }));
    }
    if !shared.is_empty() {
        // By default a runtime cuts its mounts off from those it was called among; this leaves the staged ones as they are.
        spec.linux.rootfs_propagation = "shared".into();
    } else if receives {
        // crun's default lets nothing in either.
        spec.linux.rootfs_propagation = "rslave".into();
    }

    let mut steps = vec![InitStep::IsolateMounts { shared }];
    let layers = launch.layers.iter().cloned();
    steps.extend(layers.map(|(source, mountpoint)| InitStep::Layers { source, mountpoint }));
    // Before the root: their targets are the host's.
    steps.extend(staged);
    steps.push(InitStep::Root { source: launch.root.clone(), mountpoint: spec.root.path.clone() });
    steps.push(InitStep::Identify(launch.user.clone()));
    steps.push(InitStep::Bundle {
        template: external.template.clone(),
        folder: external.bundle(),
        network: launch.network_inherited.then(String::new),
    });
    (spec, InitPlan::new(vec![NamespaceKind::Mount], steps))
}

/// As runtimes take the name of a kernel parameter: `net/ipv4/conf/eth0.1/forwarding` has its dots where others have
/// slashes.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']).and_then(|first| name.get(first..=first)) {
        Some("/") => name.chars().map(|letter| if letter == '/' { '.' } else { letter }).collect(),
        _ => name.to_owned(),
    }
}

/// What the bundle is to say of the program's identity, once it is known.
pub fn identify(spec: &mut Spec, identity: &crate::passwd::Identity) {
    let user = &mut spec.process.user;
    user.uid = identity.uid;
    user.gid = identity.gid;
    user.additional_gids.clone_from(&identity.groups);
    // That of the runtime's caller would count.
    user.umask = user.umask.or(Some(0o022));
    if !spec.process.env.iter().any(|entry| entry.starts_with("HOME=")) {
        spec.process.env.push(format!("HOME={}", identity.home));
    }
}

/// Has the network namespace joined that lies at a path.
pub fn join_network(spec: &mut Spec, path: &str) {
    for namespace in spec.linux.namespaces.iter_mut().filter(|namespace| namespace.kind == "network") {
        namespace.path = Some(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dockers_users_call_the_default_is_ours() {
        for name in ["", "carrack", "io.containerd.runc.v2"] {
            assert_eq!(named(name), None);
        }
        assert_eq!(named("runc"), Some("runc".into()));
    }

    #[test]
    fn what_is_no_runtime_of_namespaces_is_refused_by_name() {
        let refused =
            |runtime: &str| check(&Container { runtime: Some(runtime.into()), ..Container::default() }).is_err();
        for runtime in
            ["./runc", "bin/runc", "-v", "run c", "runsc", "/opt/kata-runtime", "io.containerd.kata.v2", "a/b"]
        {
            assert!(refused(runtime), "{runtime}");
        }
        for runtime in ["runc", "crun", "youki-0.5", "/opt/bin/my runtime"] {
            assert!(!refused(runtime), "{runtime}");
        }
        let init = Container { runtime: Some("runc".into()), init: true, ..Container::default() };
        assert_eq!(check(&init).unwrap_err().code.id, "container/invalid-setting");
    }

    #[test]
    fn names_of_parameters_have_dots() {
        assert_eq!(dotted("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(dotted("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
    }
}
