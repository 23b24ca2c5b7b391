//! Images: what the store does with them, for people.

mod contents;
mod inspect;
mod platform;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Read, Write};

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_oci::{Config, Digest, Platform, Reference};
use carrack_store::{Image, Import, Lease};
use serde::Serialize;

pub use contents::{Change, FileDiff, ImageDiff, ImageTree, LayerTree, TreeEntry, Waste};
pub use tree::ImageFamily;

use crate::bootstrap::{self, BootstrapRequest};
use crate::engine::{Engine, now, seconds_since};

/// A line of `images`: an image under one of its names.
#[derive(Debug, Clone, Serialize)]
pub struct ImageView {
    /// `nginx`, `<none>`.
    pub repository: String,
    /// `latest`, `<none>`.
    pub tag: String,
    /// Digest of the configuration.
    pub id: Digest,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// As its configuration says; none where it does not.
    pub created: Option<String>,
    /// Since then.
    pub age_seconds: Option<i64>,
    /// Unpacked.
    pub size_bytes: u64,
    /// What it runs on: one, or as many as the name stands for.
    pub platforms: Vec<String>,
}

impl Engine {
    /// All images, a line a name.
    pub fn images(&self) -> Result<Vec<ImageView>> {
        let mut views = Vec::new();
        let images = self.store.images()?;
        let mut named: HashSet<Digest> =
            images.iter().filter(|image| !image.names.is_empty()).map(|image| image.id).collect();
        let mut indexes = BTreeMap::new();
        for name in images.iter().flat_map(|image| &image.names) {
            indexes.extend(self.store.index_of(name)?.map(|index| (name.clone(), index)));
        }
        // Those that a name stands for on other platforms are part of that name's line.
        let elsewhere: BTreeSet<Digest> =
            indexes.values().flat_map(|index| &index.images).map(|image| image.id).collect();
        for image in images {
            let size_bytes = self.store.image_size_bytes(&image)?;
            let created = image.config.created.clone();
            let mut view = ImageView {
                repository: "<none>".into(),
                tag: "<none>".into(),
                id: image.id,
                manifest: image.manifest.digest,
                age_seconds: created.as_deref().and_then(seconds_since),
                created,
                size_bytes,
                platforms: vec![image.config.platform().to_string()],
            };
            // Another manifest of an image that has a name is nothing that people ask for.
            if image.names.is_empty() && !elsewhere.contains(&image.id) && named.insert(image.id) {
                views.push(view.clone());
            }
            for name in &image.names {
                view.platforms = match indexes.get(name) {
                    Some(index) => index.images.iter().map(|image| image.config.platform().to_string()).collect(),
                    None => vec![image.config.platform().to_string()],
                };
                view.repository = name.familiar_repository();
                view.tag = name.tag().unwrap_or("<none>").to_owned();
                views.push(view.clone());
            }
        }
        Ok(views)
    }

    /// Whether an image of this name or id is here.
    pub fn image_id(&self, name: &str) -> Result<Option<Digest>> {
        self.store.find_image_id(name)
    }

    /// Loads the images of an archive and gives their names; of images for several platforms those for one, this host's where
    /// none is said.
    pub fn load(&self, archive: &mut dyn Read, platform: Option<&Platform>) -> Result<Vec<String>> {
        let mut loaded = Vec::new();
        let statements = |lease: &Lease, manifest: &Digest, said: &[Vec<u8>]| self.predicates_of(said, manifest, lease);
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        for (image, names) in self.store.load(archive, &platform, &statements)? {
            self.emit_image("load", &image.id.to_string(), &image);
            loaded.extend(names.iter().map(Reference::familiar));
            if names.is_empty() {
                loaded.push(image.id.to_string());
            }
        }
        Ok(loaded)
    }

    /// Writes images into an archive that Docker and OCI tools read, with what is said of them as artefacts beside them where
    /// somebody asked for it. With a platform, of each name the image for that one alone.
    pub fn save(&self, names: &[String], platform: Option<&Platform>, archive: &mut dyn Write) -> Result<()> {
        let (mut images, mut indexes) = (Vec::<(Image, Vec<Reference>)>::new(), Vec::new());
        for name in names {
            let image = self.image_on(name, platform)?;
            let reference = name.parse::<Reference>().ok();
            let index = reference.as_ref().map(|name| self.store.index_of(name)).transpose()?.flatten();
            let is_part = platform.is_some() && index.is_some();
            if let (Some(index), Some(name), None) =
                (index.filter(|index| index.descriptor.is_some()), &reference, platform)
            {
                indexes.push((index, vec![name.clone()]));
                continue;
            }
            // An image that was asked for by its id has no name in the archive, as Docker does it.
            let named = reference.filter(|reference| is_part || image.names.contains(reference));
            let is_same = |(other, _): &&mut (Image, Vec<Reference>)| other.manifest.digest == image.manifest.digest;
            match images.iter_mut().find(is_same) {
                Some((_, names)) => names.extend(named.filter(|name| !names.contains(name))),
                None => images.push((image, named.into_iter().collect())),
            }
        }
        let listed = indexes.iter().flat_map(|(index, names)| index.images.iter().map(move |image| (image, names)));
        let mut artifacts = Vec::new();
        for (image, names) in images.iter().map(|(image, names)| (image, names)).chain(listed) {
            for predicate in image.predicates.iter().filter(|predicate| predicate.is_asked) {
                artifacts.push(carrack_solver::attestation(&self.store, predicate, &image.manifest, names)?);
            }
        }
        self.store.save_all(&images, &indexes, &artifacts, archive)?;
        for (image, _) in &images {
            self.emit_image("save", &image.id.to_string(), image);
        }
        for image in indexes.iter().flat_map(|(index, _)| &index.images) {
            self.emit_image("save", &image.id.to_string(), image);
        }
        Ok(())
    }

    /// Makes an image of one layer of a root file system's tar, for this host's platform where none is said.
    pub fn import(
        &self,
        tar: &mut dyn Read,
        platform: Option<&Platform>,
        config: Config,
        message: Option<&str>,
        name: Option<&str>,
    ) -> Result<Digest> {
        let names = name.map(str::parse::<Reference>).transpose()?.into_iter().collect();
        let import = Import {
            config,
            platform: platform.cloned().unwrap_or_else(Platform::host),
            created: Some(now()),
            message: message.map(str::to_owned),
            names,
        };
        let image = self.store.import(tar, import)?;
        if let Some(name) = image.names.iter().find(|_| name.is_some()) {
            self.emit_image("tag", &name.familiar(), &image);
        }
        self.emit_image("import", &image.id.to_string(), &image);
        Ok(image.id)
    }

    /// Gives an image a further name.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let image = self.store.image(source)?;
        let target = target.parse()?;
        let named = source.parse::<Reference>().ok().filter(|name| image.names.contains(name));
        match named.map(|name| self.store.index_of(&name)).transpose()?.flatten() {
            Some(index) => self.store.tag_index(&index, &target)?,
            None => self.store.tag(&image, &target)?,
        }
        self.emit_image("tag", &target.familiar(), &image);
        Ok(())
    }

    /// Removes a name; with its last name the image. The lines are Docker's.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<String>> {
        let image = self.store.image(name)?;
        let named = name.parse::<Reference>().ok().filter(|reference| image.names.contains(reference));
        let mut lines = Vec::new();
        if let Some(reference) = named
            && image.names.len() > 1
        {
            self.store.untag(&reference)?;
            self.emit_image("untag", &reference.familiar(), &image);
            lines.push(format!("Untagged: {}", reference.familiar()));
            return Ok(lines);
        }
        let is_gone = self.store.remove_image(&image.id, force)?;
        for name in &image.names {
            self.emit_image("untag", &name.familiar(), &image);
        }
        if is_gone {
            self.emit_image("delete", &image.id.to_string(), &image);
        }
        lines.extend(image.names.iter().map(|name| format!("Untagged: {}", name.familiar())));
        if is_gone {
            lines.push(format!("Deleted: {}", image.id));
        }
        self.store.prune(carrack_store::Scope::Unreferenced)?;
        Ok(lines)
    }

    /// Makes a base image from a Debian archive.
    pub fn bootstrap(&self, request: &BootstrapRequest) -> Result<Digest> {
        let name: Reference = request.name.parse()?;
        let mut sink = tempfile_in(&self.roots().data)?;
        let made = bootstrap::bootstrap(request, &mut sink)?;
        std::io::Seek::rewind(&mut sink)
            .map_err(|error| crate::engine::host_error("can't read the made tar", error))?;
        let import = Import {
            config: made.config,
            platform: Platform::host(),
            created: Some(made.created),
            message: Some(format!("home-made from Debian {}", request.suite)),
            names: vec![name],
        };
        Ok(self.store.import(&mut sink, import)?.id)
    }
}

/// The configuration that Dockerfile instructions give an image that is imported. Diagnostics point into texts that are
/// added to `sources`.
pub fn config_of(instructions: &[String], sources: &mut SourceMap) -> Result<Config, Vec<Diagnostic>> {
    use carrack_llb::{LowerOptions, Lowered, lower};

    let mut lowered = |text: String| -> Result<Config, Vec<Diagnostic>> {
        let file = sources.add("--change", text);
        let (dockerfile, diagnostics) = carrack_dockerfile::parse(file, sources.get(file));
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(diagnostics.into_iter().filter(Diagnostic::is_error).collect());
        }
        match lower(&dockerfile, &LowerOptions::new(Platform::host()))? {
            Lowered::Graph(graph) => Ok(graph.config.config),
            // An image is asked for by FROM and COPY only, which are no changes.
            Lowered::Needs(_) => Ok(Config::default()),
        }
    };
    let base = lowered("FROM scratch\n".into())?;
    let mut config = lowered(format!("FROM scratch\n{}\n", instructions.join("\n")))?;
    // What a build from nothing begins with was not asked for.
    config.env.retain(|entry| !base.env.contains(entry));
    if config.working_dir == base.working_dir {
        config.working_dir.clear();
    }
    Ok(config)
}

/// A file without a name on the data root's file system: /tmp may be small.
fn tempfile_in(folder: &std::path::Path) -> Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(folder, flags, Mode::from_raw_mode(0o600));
    file.map(Into::into).map_err(|error| {
        crate::engine::host_error(format!("can't make a temporary file in {}", folder.display()), error)
    })
}
