//! `COPY`, `ADD` and `WORKDIR`.

use std::io;
use std::sync::{Arc, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_llb::{Action, CopyAction, Op, Vertex, VertexId};
use carrack_oci::Digest;

use super::{Begun, Outcome, Solver, Work, at_origin, disk_full, failed, is_full, keys_of, led_astray};
use crate::contents::{Contents, Inode};
use crate::context::Folder;
use crate::copy::{self, Failure, Written};
use crate::draft::Draft;
use crate::explain::Taken;
use crate::place::{OnDisk, Place};
use crate::select::{self, Source, State};
use crate::tree::{Owner, Tree, kind, relative};
use crate::{codes, owner};
use carrack_store::{Layer, Snapshotter as _, Store};
use rustix::fs::FileType;

/// What a copy takes from its input.
struct Selection {
    tree: Opened,
    sources: Vec<Source>,
    from_folder: bool,
    input: usize,
}

impl Selection {
    fn unchanged(&self, vertex: &Vertex) -> Result<()> {
        match &self.tree {
            Opened::Shared(folder) => unchanged(vertex, folder, &self.sources),
            Opened::Own(_) => Ok(()),
        }
    }

    /// What a later build need not read again, as the layer has it.
    fn stored_in(&self, layer: &Layer, written: &[(Inode, u64)]) {
        if let Opened::Shared(folder) = &self.tree {
            folder.contents.stored_in(&layer.diff_id, written);
        }
    }

    fn digest(&self) -> io::Result<(Digest, Vec<State>)> {
        match &self.tree {
            Opened::Shared(folder) => select::digest(&folder.tree, &self.sources, !self.from_folder, &folder.contents),
            Opened::Own(tree) => select::digest(tree, &self.sources, !self.from_folder, &Contents::default()),
        }
    }
}

/// Folders are open for the whole build, layers for the step.
enum Opened {
    Shared(Arc<Folder>),
    Own(Tree),
}

impl Opened {
    fn tree(&self) -> &Tree {
        match self {
            Self::Shared(folder) => &folder.tree,
            Self::Own(tree) => tree,
        }
    }

    /// With what is known of its files.
    fn with_contents<'a>(&'a self, store: &'a Store) -> (&'a Tree, Option<(&'a Store, &'a Contents)>) {
        match self {
            Self::Shared(folder) => (&folder.tree, Some((store, &folder.contents))),
            Self::Own(tree) => (tree, None),
        }
    }
}

impl Solver<'_> {
    pub(super) fn file(&self, id: VertexId, actions: &[Action], inputs: &[Arc<Outcome>]) -> Result<Outcome> {
        let vertex = self.graph.vertex(id);
        let base = &inputs[0];
        let uses_folders = (1..inputs.len()).any(|input| self.is_folder_source(vertex, input));
        let mut keys = Vec::new();
        // Where the sources are layers their chains already say what is copied; looking into them is for when those have
        // changed and what is copied has not.
        if !uses_folders {
            keys.push(keys_of(&vertex.op, inputs.iter().map(|input| input.identity()).collect()));
            if let Some(outcome) = self.cached(id, &keys, inputs, &[])? {
                return Ok(outcome);
            }
        }
        let selections = self.selections(vertex, actions, inputs)?;
        let mut taken = Vec::new();
        if !selections.is_empty() {
            let mut digests = vec![base.identity()];
            for selection in &selections {
                let digest = selection.digest();
                let (digest, states) = digest.map_err(|error| match is_full(&error) {
                    true => disk_full(vertex, "cannot copy the sources".to_owned(), &error),
                    false => failed(vertex, "read the sources").cause(error.to_string()).boxed(),
                })?;
                digests.push(digest);
                taken.push(Taken { input: selection.input, digest, sources: &selection.sources, states });
            }
            keys.push(keys_of(&vertex.op, digests));
            if let Some(outcome) = self.cached(id, &keys, inputs, &taken)? {
                return Ok(outcome);
            }
        }
        let work = match self.begin(id, &keys, inputs, &taken)? {
            Begun::Done(outcome) => return Ok(*outcome),
            Begun::Work(work) => work,
        };
        let unpacks = copies(actions).zip(&selections).try_fold(false, |unpacks, (copy, selection)| {
            Ok(unpacks || copy::unpacks(selection.tree.tree(), &selection.sources, copy)?)
        });
        let unpacks =
            unpacks.map_err(|error: io::Error| failed(vertex, "read the sources").cause(error.to_string()).boxed())?;
        if unpacks {
            return self.file_on_disk(vertex, actions, &selections, (&keys, inputs, &taken), &work);
        }
        let below = self.tree(vertex, base)?;
        let mut written = Vec::new();
        let layer = self.store.commit_written(self.lease(vertex)?, base.chain(), &mut |writer| {
            let mut chosen = selections.iter();
            let mut draft = Draft::new(&below, writer);
            for action in actions {
                written.extend(self.act(vertex, action, &mut draft, (&below, false), &mut chosen)?);
            }
            selections.iter().try_for_each(|selection| selection.unchanged(vertex))
        });
        let layer = layer.map_err(|diagnostic| match diagnostic.labels.is_empty() {
            true => at_origin(*diagnostic, vertex).boxed(),
            false => diagnostic,
        })?;
        for (selection, written) in selections.iter().zip(&written) {
            selection.stored_in(&layer, written);
        }
        self.enter(vertex, (&keys, inputs, &taken), layer, &work)
    }

    /// The same through a mounted overlay: an archive that is unpacked may mean anything.
    fn file_on_disk(
        &self,
        vertex: &Vertex,
        actions: &[Action],
        selections: &[Selection],
        (keys, inputs, taken): (&[Digest], &[Arc<Outcome>], &[Taken<'_>]),
        work: &Work,
    ) -> Result<Outcome> {
        let base = &inputs[0];
        let scratch = &work.scratch;
        let lower = self.store.lower_dirs(base.chain())?;
        let tree = Tree::overlay(&lower, Some(&scratch.upper()))
            .map_err(|error| failed(vertex, "mount the layers").cause(error.to_string()).boxed())?;
        let mut chosen = selections.iter();
        for action in actions {
            self.act(vertex, action, &mut OnDisk(&tree), (&tree, true), &mut chosen)?;
        }
        selections.iter().try_for_each(|selection| selection.unchanged(vertex))?;
        // The upper directory must be mounted nowhere when it becomes a layer.
        drop(tree);
        self.commit(vertex, keys, inputs, taken, work)
    }

    /// Notes why a step is not cached, some of whose inputs are not known before others have run. What it takes of
    /// contexts is known.
    pub(crate) fn missed_after(&self, id: VertexId, inputs: &[Arc<Option<Arc<Outcome>>>]) -> Result<()> {
        let vertex = self.graph.vertex(id);
        let ids: Vec<_> =
            inputs.iter().map(|input| input.as_ref().as_ref().map(|outcome| outcome.identity())).collect();
        let mut found = Vec::new();
        if let Op::File(actions) = &vertex.op {
            for action in actions {
                let Action::Copy(copy) = action else { continue };
                let input = inputs[copy.input].as_ref().as_ref();
                if let Some(folder) = input.and_then(|outcome| outcome.folder.as_deref()) {
                    let sources = select::sources(&folder.tree, copy, Some(&folder.ignore));
                    let read = sources.and_then(|sources| {
                        Ok((select::digest(&folder.tree, &sources, false, &folder.contents)?, sources))
                    });
                    let ((digest, states), sources) =
                        read.map_err(|error| failed(vertex, "read the sources").cause(error.to_string()).boxed())?;
                    found.push((copy.input, digest, sources, states));
                }
            }
        }
        let taken = found.iter().map(|(input, digest, sources, states)| Taken {
            input: *input,
            digest: *digest,
            sources,
            states: states.clone(),
        });
        self.missed(id, &ids, &taken.collect::<Vec<_>>());
        Ok(())
    }

    /// What a copy has written into a layer's tar; none of other actions.
    fn act<'s>(
        &self,
        vertex: &Vertex,
        action: &Action,
        to: &mut dyn Place,
        (tree, on_disk): (&Tree, bool),
        selections: &mut impl Iterator<Item = &'s Selection>,
    ) -> Result<Option<Written>> {
        let find = |text: &Option<String>| -> Result<Option<Owner>> {
            let Some(text) = text else { return Ok(None) };
            let found = owner::lookup(text, tree);
            found.map(Some).map_err(|reason| unknown_owner(vertex, text, reason))
        };
        match action {
            Action::MakeFolder { path, mode, owner } => {
                let owner = find(owner)?.unwrap_or(Owner::ROOT);
                let made = to.make_folders(relative(path), *mode, owner);
                made.map(|_| None).map_err(|error| match is_full(&error) {
                    true => disk_full(vertex, format!("cannot make the folder {path}"), &error),
                    false => {
                        led_astray(failed(vertex, "make the folder").cause(format!("{path}: {error}")), &error).boxed()
                    }
                })
            }
            Action::MakeFile(file) => {
                let owner = find(&file.owner)?.unwrap_or(Owner::ROOT);
                copy::make_file(to, file, owner).map(|()| None).map_err(|failure| copy_failed(vertex, failure))
            }
            Action::Copy(copy) => {
                let Some(selection) = selections.next() else { return Ok(None) };
                let owner = find(&copy.owner)?;
                let (sources, from_folder) = (&selection.sources, selection.from_folder);
                let from = selection.tree.with_contents(self.store);
                let copied = match on_disk {
                    true => copy::copy_to_disk(from.0, sources, tree, copy, owner, from_folder).map(|()| None),
                    false => copy::copy(from, sources, to, copy, owner, from_folder).map(Some),
                };
                copied.map_err(|failure| copy_failed(vertex, failure))
            }
        }
    }

    fn selections(&self, vertex: &Vertex, actions: &[Action], inputs: &[Arc<Outcome>]) -> Result<Vec<Selection>> {
        let mut selections = Vec::new();
        for copy in copies(actions) {
            selections.push(self.select(vertex, copy, &inputs[0], &inputs[copy.input])?);
        }
        Ok(selections)
    }

    fn select(&self, vertex: &Vertex, copy: &CopyAction, base: &Outcome, input: &Outcome) -> Result<Selection> {
        let from_folder = self.is_folder_source(vertex, copy.input);
        let folder = input.folder.as_deref();
        let tree = match (&input.folder, from_folder) {
            (Some(folder), _) => Opened::Shared(folder.clone()),
            (None, true) => return Err(not_found(copy, None, "the build context")),
            (None, false) => Opened::Own(self.tree(vertex, input)?),
        };
        let ignore = folder.map(|folder| &folder.ignore);
        let sources = select::sources(tree.tree(), copy, ignore).map_err(|error| {
            Diagnostic::error(&codes::COPY_FAILED, format!("read `{}`", copy.source))
                .at(copy.span, "cannot be read")
                .cause(error.to_string())
                .hint("make it readable, or leave it out with .dockerignore")
                .boxed()
        })?;
        let is_pattern = carrack_dockerfile::has_wildcard(&copy.source);
        if sources.is_empty() && !is_pattern {
            let place = folder.map_or("what is copied from", |folder| folder.name.as_str());
            return Err(not_found(copy, folder, place));
        }
        if sources.is_empty() {
            self.warn(
                Diagnostic::warning(&codes::NO_MATCH, format!("`{}` matches nothing", copy.source))
                    .at(copy.span, "nothing is copied")
                    .hint("correct the pattern, or look at .dockerignore"),
            );
        }
        let several = sources.len() > 1 && !copy.destination.ends_with('/');
        if several && !self.is_folder(vertex, base, &copy.destination)? {
            // As the reference does it; nobody wants it.
            self.warn(
                Diagnostic::warning(&codes::OVERWRITTEN, format!("`{}` matches several files", copy.source))
                    .at(copy.span, format!("{} files, each replacing the one before", sources.len()))
                    .hint("end the destination with a slash: then it is a folder"),
            );
        }
        if folder.is_some_and(|folder| folder.is_context) {
            let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
            sources.iter().for_each(|source| usage.add(source));
        }
        Ok(Selection { tree, sources, from_folder, input: copy.input })
    }

    fn warn(&self, warning: Diagnostic) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    fn is_folder(&self, vertex: &Vertex, base: &Outcome, path: &str) -> Result<bool> {
        let tree = self.tree(vertex, base)?;
        let look = || -> io::Result<bool> {
            let Some(real) = tree.resolve(relative(path))? else { return Ok(false) };
            Ok(tree.stat(&real)?.is_some_and(|stat| kind(&stat) == FileType::Directory))
        };
        look().map_err(|error| failed(vertex, "look at the destination").cause(error.to_string()).boxed())
    }
}

fn copies(actions: &[Action]) -> impl Iterator<Item = &CopyAction> {
    actions.iter().filter_map(|action| match action {
        Action::Copy(copy) => Some(copy),
        _ => None,
    })
}

/// What was copied must be what the step's keys were made of: a file that was written meanwhile would be found under the
/// content that it had before.
pub(super) fn unchanged(vertex: &Vertex, folder: &Folder, sources: &[Source]) -> Result<()> {
    if !folder.is_shared() {
        return Ok(());
    }
    let changed = select::changed(&folder.tree, sources);
    let changed = changed.map_err(|error| failed(vertex, "read the sources").cause(error.to_string()).boxed())?;
    let Some(path) = changed else { return Ok(()) };
    let diagnostic =
        Diagnostic::error(&codes::COPY_FAILED, format!("`{}` changed while it was copied", path.display()));
    let hint = "build again when nothing writes there, or leave it out with .dockerignore";
    Err(at_origin(diagnostic, vertex).hint(hint).boxed())
}

fn not_found(copy: &CopyAction, folder: Option<&Folder>, place: &str) -> Box<Diagnostic> {
    let path = copy.source.trim_start_matches('/');
    let diagnostic = Diagnostic::error(&codes::NOT_FOUND, format!("`{path}` is not in {place}"));
    let diagnostic = diagnostic.at(copy.span, "not found");
    if folder.is_some_and(|folder| folder.ignore.is_ignored(path)) {
        return diagnostic
            .cause(".dockerignore leaves it out")
            .hint(format!("add `!{path}` to the end of .dockerignore"))
            .boxed();
    }
    if let Some(target) = folder.and_then(|folder| dangling(&folder.tree, path)) {
        return diagnostic
            .cause(format!("it is a link to {target}, and links do not lead out of the context"))
            .hint("copy the file into the context, or make the link lead to one in it")
            .boxed();
    }
    let Some(near) = folder.and_then(|folder| nearest(&folder.tree, path)) else {
        let hint = match folder {
            Some(_) => "the path counts from the root of the context, not from the Dockerfile",
            None => "the path counts from the root of what --from names, and links do not lead out of it",
        };
        return diagnostic.hint(hint).boxed();
    };
    diagnostic.hint(format!("did you mean `{near}`?")).boxed()
}

/// Where a link of a folder that leads nowhere in it leads.
fn dangling(tree: &Tree, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let link = tree.resolve(relative(folder)).ok()??.join(name);
    let stat = tree.stat(&link).ok()??;
    let target = (kind(&stat) == FileType::Symlink).then(|| tree.link_target(&link).ok())??;
    Some(target.display().to_string())
}

/// A name beside the missing one that differs by little.
fn nearest(tree: &Tree, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let real = tree.resolve(relative(folder)).ok()??;
    let names: Vec<String> = tree.names(&real).ok()?.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    let near = carrack_diag::nearest(name, names.iter().map(String::as_str))?;
    Some(if folder.is_empty() { near.to_owned() } else { format!("{folder}/{near}") })
}

fn unknown_owner(vertex: &Vertex, text: &str, reason: String) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::UNKNOWN_OWNER, format!("cannot find the owner `{text}` in the image"));
    at_origin(diagnostic, vertex).cause(reason).hint("add the user in a RUN above, or give numbers").boxed()
}

fn copy_failed(vertex: &Vertex, failure: Failure) -> Box<Diagnostic> {
    if let Some(diagnostic) = failure.diagnostic {
        return at_origin(*diagnostic, vertex).boxed();
    }
    if is_full(&failure.error) {
        return disk_full(vertex, format!("cannot write {}", failure.path.display()), &failure.error);
    }
    let diagnostic = Diagnostic::error(&codes::COPY_FAILED, format!("cannot write {}", failure.path.display()));
    let hint = match failure.error.kind() {
        io::ErrorKind::NotADirectory => "a file or link stands where a folder is needed: copy elsewhere, or remove it",
        io::ErrorKind::IsADirectory => "a folder stands there: end the destination with a slash to copy into it",
        io::ErrorKind::PermissionDenied => "run the build as a user who may mount and change owners, such as root",
        _ => "remove the cause and build again",
    };
    at_origin(diagnostic, vertex).cause(failure.error.to_string()).hint(hint).boxed()
}
