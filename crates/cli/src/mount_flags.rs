//! Values of `--volume`, `--mount` and `--tmpfs`.

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::IdMapping;
use carrack_specgen::container::{Identities, Mount, MountSource, VolumeSettings};

use crate::codes;
use crate::flags::{invalid, size_bytes};

const PROPAGATIONS: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];

/// `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash is a path of the host, else a volume's name.
pub(crate) fn volume(text: &str, folder: &Path) -> Result<Mount> {
    const FORM: &str = "[SOURCE:]/TARGET[:ro|rw|nocopy|PROPAGATION]";
    let wrong = || invalid("--volume", text, FORM);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(wrong()),
    };
    if !target.starts_with('/') {
        return Err(wrong());
    }
    let is_bind = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let (mut access, mut no_copy, mut propagation) = (None, None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let taken = match option {
            "ro" | "readonly" | "rw" => access.replace(option != "rw").is_some(),
            // Labels are SELinux's, consistency is that of virtual machines: neither changes anything here.
            "z" | "Z" | "cached" | "delegated" | "consistent" => false,
            "nocopy" | "copy" if !is_bind => no_copy.replace(option == "nocopy").is_some(),
            word if PROPAGATIONS.contains(&word) && is_bind => propagation.replace(word.to_owned()).is_some(),
            _ => return Err(wrong()),
        };
        if taken {
            return Err(invalid("--volume", text, "each kind of option once"));
        }
    }
    let no_copy = no_copy.unwrap_or(false);
    let source = match source {
        None => MountSource::Volume { name: None, subpath: String::new(), no_copy, settings: Default::default() },
        Some("") => return Err(wrong()),
        Some(source) if is_bind => MountSource::Bind {
            path: absolute(source, folder),
            create: true,
            propagation,
            non_recursive: false,
            writable_below: false,
        },
        Some(name) => {
            check_volume_name(name)?;
            MountSource::Volume {
                name: Some(name.to_owned()),
                subpath: String::new(),
                no_copy,
                settings: Default::default(),
            }
        }
    };
    Ok(Mount { target: target.to_owned(), source, read_only: access.unwrap_or(false), identities: None })
}

/// What `--mount` says, before its parts are held against each other.
#[derive(Default)]
struct Fields<'a> {
    source: Option<&'a str>,
    target: Option<&'a str>,
    read_only: bool,
    propagation: Option<String>,
    recursive: Option<&'a str>,
    create: bool,
    no_copy: bool,
    subpath: String,
    size_bytes: Option<u64>,
    mode: Option<u32>,
    tmpfs_options: Vec<String>,
    identities: Option<Identities>,
    settings: VolumeSettings,
}

/// `type=bind,source=…,target=…[,readonly]…`, a line of CSV.
pub(crate) fn mount(text: &str, folder: &Path) -> Result<Mount> {
    let wrong = |why: &str| invalid("--mount", text, why);
    let parts = csv(text).ok_or_else(|| wrong("fields between commas, quoted where they have commas themselves"))?;
    let pairs: Vec<(&str, Option<&str>)> = parts
        .iter()
        .map(|part| part.split_once('=').map_or((part.as_str(), None), |(key, value)| (key, Some(value))))
        .collect();
    let kind = pairs.iter().find(|(key, _)| *key == "type").and_then(|(_, value)| *value).unwrap_or("volume");
    if !matches!(kind, "bind" | "volume" | "tmpfs" | "image") {
        return Err(unknown_kind(text, kind));
    }
    let mut fields = Fields::default();
    for (key, value) in pairs {
        let own = |of: &str| match kind == of {
            true => Ok(()),
            false => Err(wrong(&format!("no `{key}` with type={kind}"))),
        };
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(wrong(&format!("{key}=true or {key}=false"))),
        };
        let filled = || value.filter(|value| !value.is_empty()).ok_or_else(|| wrong(&format!("{key}=VALUE")));
        if let Some((of, _)) = key.split_once('-') {
            own(of)?;
        }
        match key {
            "type" => {}
            "source" | "src" => fields.source = Some(filled()?),
            "target" | "dst" | "destination" => fields.target = Some(filled()?),
            "readonly" | "ro" => fields.read_only = flag()?,
            "consistency" if matches!(filled()?, "default" | "consistent" | "cached" | "delegated") => {}
            "bind-propagation" if PROPAGATIONS.contains(&filled()?) => fields.propagation = value.map(str::to_owned),
            "bind-nonrecursive" => fields.recursive = flag()?.then_some("disabled").or(fields.recursive),
            "bind-recursive" => {
                fields.recursive = Some(match filled()? {
                    known @ ("enabled" | "disabled" | "writable" | "readonly") => known,
                    _ => return Err(wrong("bind-recursive=enabled, disabled, writable or readonly")),
                });
            }
            "bind-create-src" => fields.create = flag()?,
            "idmap" if kind == "image" => return Err(wrong("no `idmap` with type=image")),
            "idmap" => {
                let maps = value.and_then(identities).ok_or_else(|| wrong(IDMAP))?;
                fields.identities = Some(maps);
            }
            "volume-nocopy" => fields.no_copy = flag()?,
            "volume-subpath" | "image-subpath" => {
                fields.subpath =
                    subpath(filled()?).ok_or_else(|| wrong(&format!("{key} as a relative path without `..`")))?
            }
            "volume-driver" if filled()? == "local" => {}
            "volume-driver" => {
                return Err(Diagnostic::error(&codes::REFUSED, format!("`{key}` of `--mount {text}` is refused"))
                    .cause("other drivers are plugins of Docker's daemon")
                    .hint("write volume-driver=local, or leave it out")
                    .boxed());
            }
            "volume-label" => {
                let (name, label) = filled()?.split_once('=').unwrap_or((filled()?, ""));
                fields.settings.labels.insert(name.to_owned(), label.to_owned());
            }
            "volume-opt" => {
                let (name, option) = filled()?.split_once('=').ok_or_else(|| wrong("volume-opt=NAME=VALUE"))?;
                fields.settings.options.insert(name.to_owned(), option.to_owned());
            }
            "tmpfs-size" => fields.size_bytes = Some(size_bytes("--mount tmpfs-size", filled()?)?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(filled()?, 8).ok().filter(|mode| *mode <= 0o7777);
                fields.mode = Some(mode.ok_or_else(|| wrong("tmpfs-mode as octal digits"))?);
            }
            "tmpfs-options" => fields.tmpfs_options = tmpfs_options(text, filled()?)?,
            "consistency" | "bind-propagation" => return Err(wrong(&format!("a {key} that there is"))),
            _ => return Err(wrong(&format!("no `{key}`: there is no such option"))),
        }
    }
    let target = fields.target.filter(|target| target.starts_with('/'));
    let target = target.ok_or_else(|| wrong("target=/ABSOLUTE/PATH"))?.to_owned();
    let read_only = fields.read_only || kind == "image";
    let identities = fields.identities.take();
    let source = source(text, kind, fields, folder)?;
    Ok(Mount { target, source, read_only, identities })
}

/// What `idmap` has to say: a container has the host's users, so there is no map of its own to take.
const IDMAP: &str = "idmap=uids=FILE-SHOWN-LENGTH#…;gids=…, whole numbers: the first owner in the files, as whom he is shown, \
                     how many follow";

/// Podman's form of it.
fn identities(text: &str) -> Option<Identities> {
    let mut identities = Identities::default();
    for part in text.split(';') {
        let (kind, ranges) = part.split_once('=')?;
        let list = match kind {
            "uids" => &mut identities.uids,
            "gids" => &mut identities.gids,
            _ => return None,
        };
        for range in ranges.split('#') {
            let numbers: Vec<u32> = range.split('-').map(|text| text.parse().ok()).collect::<Option<_>>()?;
            let [container_id, host_id, size] = numbers.as_slice() else { return None };
            let ends = [container_id.checked_add(*size), host_id.checked_add(*size)];
            if *size == 0 || ends.contains(&None) {
                return None;
            }
            list.push(IdMapping { container_id: *container_id, host_id: *host_id, size: *size });
        }
    }
    Some(identities)
}

fn source(text: &str, kind: &str, fields: Fields<'_>, folder: &Path) -> Result<MountSource> {
    let wrong = |why: &str| invalid("--mount", text, why);
    Ok(match (kind, fields.source) {
        ("bind", Some(path)) => {
            if fields.recursive == Some("readonly") {
                let is_apart = fields.propagation.as_deref() == Some("rprivate");
                if !fields.read_only || !is_apart {
                    return Err(wrong("bind-recursive=readonly with readonly and bind-propagation=rprivate"));
                }
            }
            if fields.recursive == Some("writable") && !fields.read_only {
                return Err(wrong("bind-recursive=writable with readonly"));
            }
            MountSource::Bind {
                path: absolute(path, folder),
                create: fields.create,
                propagation: fields.propagation,
                non_recursive: fields.recursive == Some("disabled"),
                writable_below: fields.recursive == Some("writable"),
            }
        }
        ("bind", None) => return Err(wrong("source=PATH for a bind mount")),
        ("image", Some(name)) => MountSource::Image { name: name.to_owned(), subpath: fields.subpath },
        ("image", None) => return Err(wrong("source=IMAGE for an image mount")),
        ("tmpfs", None) => {
            MountSource::Tmpfs { size_bytes: fields.size_bytes, mode: fields.mode, options: fields.tmpfs_options }
        }
        ("tmpfs", Some(_)) => return Err(wrong("a tmpfs without source")),
        (_, name) => {
            if let Some(name) = name {
                check_volume_name(name)?;
            }
            MountSource::Volume {
                name: name.map(str::to_owned),
                subpath: fields.subpath,
                no_copy: fields.no_copy,
                settings: fields.settings,
            }
        }
    })
}

fn unknown_kind(text: &str, kind: &str) -> Box<Diagnostic> {
    let reason = match kind {
        "npipe" => "named pipes of that kind exist on Windows only",
        "cluster" => "cluster volumes are Swarm's, and there is one host",
        _ => return invalid("--mount", text, "type=bind, volume, tmpfs or image"),
    };
    Diagnostic::error(&codes::REFUSED, format!("`--mount {text}` is refused")).cause(reason).boxed()
}

/// Below its volume, whatever it says.
fn subpath(text: &str) -> Option<String> {
    let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    (!text.starts_with('/') && !names.contains(&"..")).then(|| names.join("/"))
}

/// One line of comma-separated values (RFC 4180); none where a quote stands in the middle of a field or is not closed.
fn csv(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        let field = fields.last_mut()?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return None,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}

/// `/TARGET[:size=64m,mode=1770,…]`
pub(crate) fn tmpfs(text: &str) -> Result<Mount> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err(invalid("--tmpfs", text, "/TARGET[:size=64m,mode=1770,…]"));
    }
    let (mut size, mut mode, mut rest, mut read_only) = (None, None, Vec::new(), false);
    for option in tmpfs_options(text, options)? {
        match option.split_once('=') {
            Some(("size", value)) if !value.ends_with('%') => size = Some(size_bytes("--tmpfs size", value)?),
            Some(("mode", value)) => {
                let octal = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                mode = Some(octal.ok_or_else(|| invalid("--tmpfs mode", value, "octal digits"))?);
            }
            _ if option == "ro" || option == "rw" => read_only = option == "ro",
            _ => rest.push(option),
        }
    }
    let source = MountSource::Tmpfs { size_bytes: size, mode, options: rest };
    Ok(Mount { target: target.to_owned(), source, read_only, identities: None })
}

/// Options of mount(8) that a tmpfs may have, as Docker's list has them.
fn tmpfs_options(text: &str, options: &str) -> Result<Vec<String>> {
    const FLAGS: [&str; 14] = [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "atime",
        "noatime",
        "relatime",
        "strictatime",
    ];
    const VALUES: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];
    let known = |option: &&str| match option.split_once('=') {
        Some((key, value)) => VALUES.contains(&key) && !value.is_empty(),
        None => FLAGS.contains(option),
    };
    let all: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
    match all.iter().find(|option| !known(option)) {
        Some(option) => Err(invalid("--tmpfs", text, &format!("no `{option}`: a tmpfs has no such option"))),
        None => Ok(all.into_iter().map(str::to_owned).collect()),
    }
}

fn check_volume_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() > 1 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(invalid("--volume", name, "a volume's name of letters, digits, `_`, `.`, `-` (a path begins with / or ./)"))
}

/// A path of the caller, made absolute by text alone so that links keep their meaning.
fn absolute(path: &str, folder: &Path) -> String {
    let path = match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    };
    let mut clean = std::path::PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOLDER: &str = "/project";

    fn mounted(text: &str) -> Mount {
        mount(text, Path::new(FOLDER)).unwrap()
    }

    #[test]
    fn volumes_are_paths_names_or_anonymous() {
        let folder = Path::new(FOLDER);
        let source = |text: &str| volume(text, folder).unwrap().source;
        assert!(matches!(source("./src:/app"), MountSource::Bind { path, create: true, .. } if path == "/project/src"));
        assert!(matches!(source("data:/var/lib"), MountSource::Volume { name: Some(name), .. } if name == "data"));
        assert!(matches!(source("data:/var/lib:nocopy,z"), MountSource::Volume { no_copy: true, .. }));
        assert!(matches!(source("/app/node_modules"), MountSource::Volume { name: None, .. }));
        assert!(volume("/a:/b:ro,rslave,Z", folder).unwrap().read_only);
        for wrong in [
            "a:b",
            ":/x",
            "a/b:/x",
            "/a:/b:what",
            "a:b:c:d",
            "/a:/b:ro,rw",
            "/a:/b:nocopy",
            "vol:/b:rslave",
            "/a:/b:slave,shared",
        ] {
            assert!(volume(wrong, folder).is_err(), "{wrong}");
        }
    }

    /// Docker's own forms, and which of them exclude each other.
    #[test]
    fn mounts_have_docker_s_forms() {
        let bind = mounted("type=bind,source=.,target=/x,readonly,bind-recursive=writable,consistency=cached");
        assert!(matches!(bind.source, MountSource::Bind { path, writable_below: true, .. } if path == FOLDER));
        assert!(bind.read_only);
        let quoted = mounted("type=bind,\"source=/a,b\",target=/x");
        assert!(matches!(quoted.source, MountSource::Bind { path, .. } if path == "/a,b"));
        let image = mounted("type=image,src=busybox:1,dst=/x,image-subpath=./bin/");
        assert!(matches!(image.source, MountSource::Image { subpath, .. } if subpath == "bin"));
        assert!(image.read_only);
        let tmpfs = mounted("type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=1770");
        assert!(matches!(tmpfs.source, MountSource::Tmpfs { size_bytes: Some(0x10_0000), mode: Some(0o1770), .. }));
        let made =
            mounted("type=volume,source=ab,target=/x,\"volume-opt=o=ro,uid=5\",volume-label=a=b=c,volume-label=d");
        let MountSource::Volume { settings, .. } = made.source else { unreachable!() };
        assert_eq!(settings.options["o"], "ro,uid=5");
        assert_eq!((settings.labels["a"].as_str(), settings.labels["d"].as_str()), ("b=c", ""));
        for wrong in [
            "",
            "foo=1",
            "type=bind,target=/x",
            "type=bind,source=/a",
            "type=bind,source=/a,target=x",
            "type=bind,source=/a,target=/x,volume-nocopy",
            "type=volume,target=/x,bind-propagation=shared",
            "type=bind,source=/a,target=/x,bind-propagation=loud",
            "type=bind,source=/a,target=/x,bind-recursive=readonly",
            "type=bind,source=/a,target=/x,bind-recursive=writable",
            "type=tmpfs,source=a,target=/x",
            "type=tmpfs,target=/x,tmpfs-mode=8",
            "type=tmpfs,target=/x,tmpfs-mode=77777",
            "type=npipe,source=a,target=/x",
            "type=cluster,target=/x",
            "type=volume,source=ab,target=/x,volume-subpath=../up",
            "type=image,target=/x",
            "type=volume,source=ab,target=/x,volume-opt=type",
            "type=volume,source=ab,target=/x,volume-label",
            "type=volume,source=ab,target=/x,volume-driver=nfs",
            "type=bind,source=/a,target=/x,volume-opt=type=nfs",
            "type=bind,source=\"/a,target=/x",
        ] {
            assert!(mount(wrong, Path::new(FOLDER)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_idmap_has_ranges() {
        let mount = mounted("type=bind,source=/a,target=/x,idmap=uids=0-1000-1#5-2000-10;gids=0-1000-1");
        let identities = mount.identities.unwrap();
        assert_eq!(identities.uids[1], IdMapping { container_id: 5, host_id: 2000, size: 10 });
        assert_eq!((identities.uids.len(), identities.gids.len()), (2, 1));
        for wrong in [
            "",
            "=",
            "=uids",
            "=uids=1-2",
            "=uids=0-0-0",
            "=names=0-0-1",
            "=uids=0-4294967295-2",
            "=uids=-1-1-1",
            "=uids=@0-0-1",
        ] {
            assert!(mount_of(&format!("type=bind,source=/a,target=/x,idmap{wrong}")).is_err(), "{wrong}");
        }
        assert!(mount_of("type=image,source=a,target=/x,idmap=uids=0-1-1").is_err());
    }

    fn mount_of(text: &str) -> Result<Mount> {
        mount(text, Path::new(FOLDER))
    }

    #[test]
    fn a_tmpfs_has_known_options_only() {
        assert!(tmpfs("/x:ro").unwrap().read_only);
        let MountSource::Tmpfs { size_bytes, mode, options } =
            tmpfs("/x:size=64m,mode=700,uid=10,exec").unwrap().source
        else {
            panic!("no tmpfs");
        };
        assert_eq!((size_bytes, mode, options), (Some(64 << 20), Some(0o700), vec!["uid=10".into(), "exec".into()]));
        for wrong in ["x", "/x:what", "/x:size", "/x:mode=9", "/x:uid="] {
            assert!(tmpfs(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(text in "[\\PC:/=,.\"-]{0,40}") {
            let folder = Path::new("/p");
            let _ = (volume(&text, folder), mount(&text, folder), tmpfs(&text));
        }
    }
}
