//! What lowering needs to know beside the files: images by service, versions of secrets and configs.

use carrack_compose::Project;
use carrack_compose::project::{Content, FileSource};
use carrack_diag::{Diagnostic, Diagnostics, Spanned};
use carrack_plan::{Inputs, image_name, selection};

use super::UpOptions;
use super::perform::Contents;
use crate::codes;
use crate::engine::Engine;

/// As Docker's: a secret of this size is a mistake.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

impl Engine {
    pub(crate) fn inputs(&self, project: &Project, options: &UpOptions) -> Result<(Inputs, Contents), Diagnostics> {
        let asked = &options.reconcile;
        let selected = selection(project, &asked.services, asked.without_dependencies);
        let mut inputs = Inputs { scale: options.scale.clone(), selected, ..Inputs::default() };
        let mut contents = Contents::new();
        let mut diagnostics = Vec::new();
        for service in project.services.values() {
            // What is not there is said by lowering, with the place that asks for it.
            if let Ok(image) = self.store.image(&image_name(project, service)) {
                inputs.images.insert(service.name.clone(), crate::build::planned(image.id, &image.config));
            }
        }
        let granted = |name: &String, secret: bool| {
            project.services.values().filter(|service| inputs.selected.contains(&service.name)).any(|service| {
                let grants = if secret { &service.secrets } else { &service.configs };
                grants.iter().any(|grant| grant.source.value == *name)
            })
        };
        for (sources, versions, secret) in
            [(&project.secrets, &mut inputs.secrets, true), (&project.configs, &mut inputs.configs, false)]
        {
            for (name, source) in sources.iter().filter(|(name, _)| granted(name, secret)) {
                match read(name, source, secret, options).and_then(|content| {
                    let version = match self.store.version_of(&content)? {
                        Some(version) => version,
                        None if self.store.is_writable() => self.store.put_version(&content)?,
                        // A root without a key has no versions, so nothing there can equal this one.
                        None => return Ok((format!("new-{name}"), content)),
                    };
                    Ok((version.as_str().to_owned(), content))
                }) {
                    Ok((version, content)) => {
                        versions.insert(name.clone(), version.clone());
                        contents.insert(version, content);
                    }
                    Err(error) => diagnostics.push(*error),
                }
            }
        }
        if diagnostics.is_empty() { Ok((inputs, contents)) } else { Err(diagnostics) }
    }
}

fn read(name: &str, source: &FileSource, secret: bool, options: &UpOptions) -> carrack_diag::Result<Vec<u8>> {
    let what = if secret { "secret" } else { "config" };
    let missing = |place: &Spanned<String>, why: String, hint: String| {
        Diagnostic::error(&codes::NO_FILE_CONTENT, format!("the {what} `{name}` can't be read"))
            .at(place.span, "its content comes from here")
            .cause(why)
            .hint(hint)
            .boxed()
    };
    match &source.content {
        Content::File(path) => {
            let create = format!("create the file, readable by you only: `install -m 600 /dev/stdin {}`", path.value);
            let metadata =
                std::fs::metadata(&path.value).map_err(|error| missing(path, error.to_string(), create.clone()))?;
            if !metadata.is_file() || metadata.len() > FILE_LIMIT_BYTES {
                return Err(missing(path, "it is no file of at most 1 MiB".into(), "name a file".into()));
            }
            std::fs::read(&path.value).map_err(|error| missing(path, error.to_string(), create))
        }
        Content::Environment(variable) => match options.environment.get(&variable.value) {
            Some(value) => Ok(value.clone().into_bytes()),
            None => Err(missing(
                variable,
                format!("the environment has no variable {}", variable.value),
                format!("export {}, or write it into .env", variable.value),
            )),
        },
        Content::Inline(text) => Ok(text.value.clone().into_bytes()),
        Content::External => {
            Err(Diagnostic::error(&codes::NO_FILE_CONTENT, format!("the {what} `{name}` is external"))
                .at(source.span, "declared here")
                .cause("this version has no store of external secrets and configs")
                .hint("use `file:` or `environment:`")
                .boxed())
        }
    }
}
