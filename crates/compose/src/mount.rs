//! `volumes` and `tmpfs` of a service.

use carrack_diag::{Diagnostic, Spanned};

use crate::node::Node;
use crate::project::{Mount, MountKind};
use crate::read::{Reading, mode};
use crate::{codes, schema, units};

impl Reading<'_> {
    pub(crate) fn mounts(&mut self, node: &Node, path: &str) -> Vec<Mount> {
        let mut mounts = Vec::new();
        for item in self.items_of(node, path, "volumes") {
            let path = format!("{path}.volumes");
            let read = match item.as_text() {
                Some(text) => self.short_mount(text, item),
                None if self.mapping(item, &path, schema::MOUNT) => self.long_mount(item, &path),
                None => continue,
            };
            match read {
                Ok(mount) => mounts.extend(mount),
                Err(problem) => self.malformed(item, &path, problem),
            }
        }
        for entry in self.list_of(node, path, "tmpfs", true) {
            match tmpfs(&entry.value) {
                Ok((target, kind)) => {
                    let target = Spanned::new(target, entry.span);
                    mounts.push(Mount { span: entry.span, target, read_only: false, kind });
                }
                Err(problem) => {
                    self.invalid(entry.span, &format!("{path}.tmpfs"), &entry.value, problem);
                }
            }
        }
        mounts
    }

    fn malformed(&mut self, item: &Node, path: &str, problem: String) {
        let text = item.as_text().map_or(String::new(), |text| format!(": `{text}`"));
        self.report(
            Diagnostic::error(&codes::MALFORMED_VOLUME, format!("`{path}` has a malformed entry{text}"))
                .at(item.span, problem)
                .hint("a volume is written `[SOURCE:]TARGET[:ro]` with an absolute target, as `./conf:/etc/app:ro`"),
        );
    }

    fn short_mount(&mut self, text: &str, item: &Node) -> Result<Option<Mount>, String> {
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        let (source, target) = match parts.next() {
            Some(target) => (Some(first), target),
            None => (None, first),
        };
        let options = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return Err("more than three parts".into());
        }
        if !target.starts_with('/') {
            return Err(format!("`{target}` is not an absolute path in the container"));
        }
        let is_path = |source: &str| source.starts_with(['.', '/', '~']);
        let kind = match source {
            None => MountKind::Volume { source: None, subpath: None, no_copy: false },
            Some("") => return Err("the source before the `:` is missing".into()),
            Some(source) if is_path(source) => MountKind::Bind {
                source: Spanned::new(self.absolute(source, item.span), item.span),
                create: true,
                propagation: None,
                recursive: true,
                writable_below: false,
            },
            Some(name) if name.contains('/') => {
                return Err(format!("`{name}` is neither the name of a volume nor a path: a path begins with `./`"));
            }
            Some(name) => MountKind::Volume {
                source: Some(Spanned::new(name.to_owned(), item.span)),
                subpath: None,
                no_copy: false,
            },
        };
        let target = Spanned::new(target.to_owned(), item.span);
        let mut mount = Mount { span: item.span, target, read_only: false, kind };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            self.short_option(&mut mount, option)?;
        }
        Ok(Some(mount))
    }

    fn short_option(&mut self, mount: &mut Mount, option: &str) -> Result<(), String> {
        match (option, &mut mount.kind) {
            ("ro" | "readonly", _) => mount.read_only = true,
            ("rw", _) => mount.read_only = false,
            // Hints for virtual machines of other systems: on Linux every mount is consistent.
            ("cached" | "delegated" | "consistent" | "default", _) => {}
            // Labels are SELinux's: where it is on, `up` says that containers have none of their own.
            ("z" | "Z", _) => {}
            ("nocopy", MountKind::Volume { no_copy, .. }) => *no_copy = true,
            (
                "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave",
                MountKind::Bind { propagation, .. },
            ) => {
                *propagation = Some(option.to_owned());
            }
            _ => return Err(format!("`{option}` is not an option of this mount")),
        }
        Ok(())
    }

    fn long_mount(&mut self, node: &Node, path: &str) -> Result<Option<Mount>, String> {
        let target = self.filled_of(node, path, "target").ok_or("a mount needs a `target`")?;
        if !target.value.starts_with('/') {
            return Err(format!("`{}` is not an absolute path in the container", target.value));
        }
        let source = self.filled_of(node, path, "source");
        let kind = self.filled_of(node, path, "type").ok_or("a mount in this form needs a `type`")?;
        let read_only = self.boolean_of(node, path, "read_only").unwrap_or(false);
        let kind = match kind.value.as_str() {
            "bind" => {
                let source = source.ok_or("a bind needs a `source`")?;
                self.bind(node, path, source, read_only)?
            }
            "volume" => self.named_volume(node, path, source),
            "tmpfs" => self.long_tmpfs(node, path),
            "image" | "cluster" | "npipe" => {
                let message = format!("`{path}` has a mount of type `{}`, which is not implemented yet", kind.value);
                self.report(
                    Diagnostic::error(&codes::NOT_YET, message)
                        .at(kind.span, "the container would miss what it expects there")
                        .hint("use `bind`, `volume` or `tmpfs`"),
                );
                return Ok(None);
            }
            other => return Err(format!("`{other}` is not a type of mount: `bind`, `volume` or `tmpfs`")),
        };
        Ok(Some(Mount { span: node.span, target, read_only, kind }))
    }

    fn bind(&mut self, node: &Node, path: &str, source: Spanned<String>, read_only: bool) -> Result<MountKind, String> {
        let empty = Node::new(crate::node::Value::Null, node.span);
        let options = node.get("bind").unwrap_or(&empty);
        let path = format!("{path}.bind");
        self.mapping(options, &path, schema::MOUNT_BIND);
        let known = |text: &str| {
            matches!(text, "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave").then(|| text.to_owned())
        };
        let hint = "it is `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`";
        let recursive = self.filled_of(options, &path, "recursive");
        let recursive = recursive.as_ref().map(|recursive| recursive.value.as_str());
        if matches!(recursive, Some("writable" | "readonly")) && !read_only {
            return Err("`recursive` can be `writable` or `readonly` beside `read_only: true` only".into());
        }
        Ok(MountKind::Bind {
            source: Spanned::new(self.absolute(&source.value, source.span), source.span),
            create: self.boolean_of(options, &path, "create_host_path").unwrap_or(true),
            propagation: self
                .converted_of(options, &path, "propagation", hint, known)
                .map(|propagation| propagation.value),
            recursive: match recursive {
                None | Some("enabled" | "writable" | "readonly") => true,
                Some("disabled") => false,
                Some(other) => return Err(format!("`{other}` is not a value of `recursive`")),
            },
            writable_below: recursive == Some("writable"),
        })
    }

    fn named_volume(&mut self, node: &Node, path: &str, source: Option<Spanned<String>>) -> MountKind {
        let empty = Node::new(crate::node::Value::Null, node.span);
        let options = node.get("volume").unwrap_or(&empty);
        let path = format!("{path}.volume");
        self.mapping(options, &path, schema::MOUNT_VOLUME);
        MountKind::Volume {
            source,
            subpath: self.filled_of(options, &path, "subpath").map(|subpath| subpath.value),
            no_copy: self.boolean_of(options, &path, "nocopy").unwrap_or(false),
        }
    }

    fn long_tmpfs(&mut self, node: &Node, path: &str) -> MountKind {
        let empty = Node::new(crate::node::Value::Null, node.span);
        let options = node.get("tmpfs").unwrap_or(&empty);
        let path = format!("{path}.tmpfs");
        self.mapping(options, &path, schema::MOUNT_TMPFS);
        let bits = options.get("mode").filter(|bits| !bits.is_null());
        if let Some(bits) = bits.filter(|bits| mode(bits).is_none()) {
            let text = bits.as_text().unwrap_or_default().to_owned();
            self.invalid(bits.span, &format!("{path}.mode"), &text, "it is an octal number, as `1777`");
        }
        MountKind::Tmpfs {
            size_bytes: self.size_of(options, &path, "size").map(|size| size.value),
            mode: bits.and_then(mode),
            options: Vec::new(),
        }
    }
}

/// `PATH[:OPTIONS]` as in `docker run --tmpfs`.
fn tmpfs(text: &str) -> Result<(String, MountKind), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err("it is an absolute path, with options after a `:`, as `/tmp:size=64m`".into());
    }
    let (mut size_bytes, mut mode, mut others) = (None, None, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) if size.ends_with('%') => others.push(option.to_owned()),
            Some(("size", size)) => {
                size_bytes = Some(units::size_bytes(size).ok_or_else(|| format!("`{size}` is not a size, as `64m`"))?);
            }
            Some(("mode", bits)) => {
                let bits = u32::from_str_radix(bits, 8).map_err(|_| format!("`{bits}` is not an octal mode"))?;
                mode = Some(bits);
            }
            _ => others.push(option.to_owned()),
        }
    }
    Ok((target.to_owned(), MountKind::Tmpfs { size_bytes, mode, options: others }))
}
