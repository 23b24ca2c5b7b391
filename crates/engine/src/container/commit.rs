//! What a container has made of its image: its changes, and an image of them.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::Result;
use carrack_oci::{Config, Digest, Empty, History, Reference};
use carrack_runtime::state::Status;
use carrack_store::NewImage;

use super::ContainerRecord;
use crate::codes;
use crate::engine::{Engine, now};
use crate::image::Change;

/// What an image of a container is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitRequest {
    /// Who made it.
    pub author: Option<String>,
    /// Why; the history's comment.
    pub message: Option<String>,
    /// What is said of the image over what the container was made with.
    pub changes: Config,
    /// Whether a running container stands still meanwhile.
    pub pause: bool,
    /// Its name; none gives it none.
    pub name: Option<String>,
}

/// What a start makes in the container's own layer to mount something on.
const MOUNTED_ON: [&str; 6] = ["dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"];

impl Engine {
    /// The names that a container has made, changed or removed, sorted. What is mounted is no part of it.
    pub fn changes(&self, name: &str) -> Result<Vec<(Change, String)>> {
        let record = self.find(name)?;
        let upper = self.store.container_dir(&record.id)?.join("upper");
        if !upper.is_dir() {
            // It was never started.
            return Ok(Vec::new());
        }
        let view = self.store.view(self.store.unnamed_image(&record.image)?.chain())?;
        let found = carrack_store::changes(&upper, &view, &mounted_on(&record))?;
        let change = |was, is| match (was, is) {
            (false, _) => Change::Added,
            (true, true) => Change::Changed,
            (true, false) => Change::Removed,
        };
        Ok(found.into_iter().map(|name| (change(name.was, name.is), format!("/{}", name.path.display()))).collect())
    }

    /// Makes an image of a container: its own image with the container's changes on it.
    pub fn commit_container(&self, name: &str, request: &CommitRequest) -> Result<Digest> {
        let record = self.find(name)?;
        let names: Vec<Reference> = request.name.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        let pauses = request.pause && self.status_of(&record)? == Status::Running;
        let moment = pauses.then(|| self.pause_for_a_moment(&record)).transpose()?;
        let made = self.commit_record(&record, request, names);
        if moment.is_some() {
            // One that ended meanwhile has nothing to go on with.
            match self.unpause(&record.id) {
                Err(error) if error.code != &codes::NOT_RUNNING && error.code != &codes::PAUSED => return Err(error),
                _ => self.forget_moment(&record.id)?,
            }
        }
        made
    }

    fn commit_record(
        &self,
        record: &ContainerRecord,
        request: &CommitRequest,
        names: Vec<Reference>,
    ) -> Result<Digest> {
        // Nobody starts or removes one that does not run.
        let _guard = match self.status_of(record)? {
            Status::Running | Status::Paused => None,
            _ => Some(self.lock_container(&record.id)?),
        };
        let image = self.store.image(&record.image.to_string())?;
        let upper = self.store.prepare_upper(&record.id, image.chain())?;
        let view = self.store.view(image.chain())?;
        let mut left_out = Vec::new();
        for path in mounted_on(record) {
            if view.resolve(&path)?.is_none() {
                left_out.push(path.as_os_str().as_bytes().to_vec());
            }
        }
        let lease = self.store.lease()?;
        let layer = self.store.commit_copy(&lease, image.chain(), &upper.upper, &left_out)?;
        let mut config = image.config.clone();
        let created = Some(now());
        config.config = merged(&request.changes, &config_of_container(record, &image.config.config));
        config.created.clone_from(&created);
        config.author.clone_from(&request.author);
        config.cache = None;
        config.rootfs.diff_ids.push(layer.diff_id);
        config.history.push(History {
            created,
            created_by: Some(record.container.arguments(&image.config.config).join(" ")),
            author: request.author.clone(),
            comment: request.message.clone(),
            empty_layer: false,
        });
        let layers = image.layers.iter().cloned().chain([layer]).collect();
        // Plain data: writing it as text can't fail.
        let bytes = serde_json::to_vec(&config).unwrap_or_default();
        let made = self.store.put_image(&lease, &bytes, NewImage { layers, names, ..NewImage::default() })?;
        let id = made.id.to_string();
        self.emit_image("create", &id, &made);
        for name in &made.names {
            self.emit_image("tag", &name.familiar(), &made);
        }
        let comment = request.message.clone().unwrap_or_default();
        let reference = made.names.first().map(|name| name.familiar()).unwrap_or_default();
        self.emit(record, "commit", &[("comment", comment), ("imageID", id), ("imageRef", reference)]);
        Ok(made.id)
    }
}

fn mounted_on(record: &ContainerRecord) -> Vec<PathBuf> {
    let files = record.container.files.iter().map(|file| Path::new(file.target.trim_start_matches('/')).to_owned());
    MOUNTED_ON.iter().map(PathBuf::from).chain(files).collect()
}

/// What the container was started with, as an image would say it.
fn config_of_container(record: &ContainerRecord, image: &Config) -> Config {
    let container = &record.container;
    let mut config = image.clone();
    // They were for the build of the container's own image.
    config.on_build.clear();
    if let Some(user) = &container.user {
        config.user.clone_from(user);
    }
    if let Some(folder) = &container.working_dir {
        config.working_dir.clone_from(folder);
    }
    if let Some(entrypoint) = &container.entrypoint {
        config.entrypoint = (!entrypoint.is_empty()).then(|| entrypoint.clone());
        config.cmd = None;
    }
    if let Some(command) = &container.command {
        config.cmd = Some(command.clone());
    }
    for (name, value) in &container.env {
        config.env.retain(|entry| name_of(entry) != name);
        config.env.extend(value.as_ref().map(|value| format!("{name}={value}")));
    }
    config.labels.extend(container.labels.clone());
    if container.stop_signal.is_some() {
        config.stop_signal.clone_from(&container.stop_signal);
    }
    config.healthcheck = container.effective_healthcheck(image).or_else(|| image.healthcheck.clone());
    config.exposed_ports.extend(container.expose.iter().map(|port| {
        let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        (port, Empty {})
    }));
    let published = container.ports.iter().map(|port| (format!("{}/{}", port.container_port, port.protocol), Empty {}));
    config.exposed_ports.extend(published);
    let anonymous =
        record.volumes.iter().filter(|(_, used)| used.anonymous).map(|(target, _)| (target.clone(), Empty {}));
    config.volumes.extend(anonymous);
    config
}

/// `docker commit`'s way of putting changes over what there is.
fn merged(changes: &Config, base: &Config) -> Config {
    let mut config = base.clone();
    let or = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    config.user = or(&changes.user, &base.user);
    config.working_dir = or(&changes.working_dir, &base.working_dir);
    for entry in &changes.env {
        config.env.retain(|known| name_of(known) != name_of(entry));
        config.env.push(entry.clone());
    }
    config.exposed_ports.extend(changes.exposed_ports.clone());
    config.volumes.extend(changes.volumes.clone());
    config.labels.extend(changes.labels.clone());
    if changes.entrypoint.is_some() {
        // As in a build, a new entrypoint takes the old arguments away.
        config.entrypoint.clone_from(&changes.entrypoint);
        config.cmd.clone_from(&changes.cmd);
    } else if changes.cmd.is_some() {
        config.cmd.clone_from(&changes.cmd);
    }
    if changes.stop_signal.is_some() {
        config.stop_signal.clone_from(&changes.stop_signal);
    }
    if changes.healthcheck.is_some() {
        config.healthcheck.clone_from(&changes.healthcheck);
    }
    config.on_build.clone_from(&changes.on_build);
    config
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_go_over_what_the_container_was_made_with() {
        let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let base = Config {
            user: "app".into(),
            env: vec!["A=1".into(), "B=2".into()],
            entrypoint: words("serve"),
            cmd: words("--all"),
            working_dir: "/srv".into(),
            ..Config::default()
        };
        assert_eq!(merged(&Config::default(), &base), base);
        let env = Config { env: vec!["A=3".into()], cmd: words("--one"), ..Config::default() };
        let made = merged(&env, &base);
        assert_eq!(made.env, ["B=2", "A=3"]);
        assert_eq!((made.entrypoint, made.cmd), (words("serve"), words("--one")));
        let made = merged(&Config { entrypoint: words("other"), user: "5".into(), ..Config::default() }, &base);
        assert_eq!((made.entrypoint, made.cmd, made.user.as_str()), (words("other"), None, "5"));
        assert_eq!(made.working_dir, "/srv");
    }
}
