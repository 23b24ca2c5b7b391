//! What images are made of: what each layer adds, what of it nobody sees any more, and what differs between two images.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Result;
use carrack_oci::{Digest, History};
use carrack_store::{EntryKind, Image, LayerEntry};
use serde::Serialize;

use crate::engine::Engine;

/// An image, layer by layer (E3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageTree {
    /// Digest of the configuration.
    pub id: Digest,
    /// Content of the files of all layers, in bytes.
    pub size_bytes: u64,
    /// How much of that is overwritten or removed by later layers.
    pub wasted_bytes: u64,
    /// Base first.
    pub layers: Vec<LayerTree>,
    /// The files that waste it, the most first.
    pub wasted: Vec<Waste>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerTree {
    /// Of its uncompressed tar.
    pub diff_id: Digest,
    /// The instruction that made it; empty where nobody said.
    pub instruction: String,
    /// RFC 3339; none where nobody said.
    pub created: Option<String>,
    /// Content of its files, in bytes.
    pub size_bytes: u64,
    /// Files, links and folders that it has.
    pub files: u64,
    /// Names of lower layers that it takes away.
    pub removed: u64,
    /// How much of its size later layers overwrite or remove.
    pub wasted_bytes: u64,
    /// Each of them, in order of paths.
    pub entries: Vec<TreeEntry>,
}

/// A name in a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeEntry {
    /// Absolute; a folder's ends in a slash.
    pub path: String,
    /// What the layer does with it.
    pub change: Change,
    /// In bytes.
    pub size_bytes: u64,
    /// Whether a later layer hides it.
    pub is_hidden: bool,
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It was not there.
    Added,
    /// It was there, and is another.
    Changed,
    /// It is there no more.
    Removed,
}

impl Change {
    /// Docker's letter for it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Removed => 'D',
        }
    }
}

/// A path whose content is in an image more than once, or although nobody sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Absolute.
    pub path: String,
    /// In bytes, of all layers that waste them together.
    pub wasted_bytes: u64,
    /// The layers that have it and are hidden, from 1.
    pub layers: Vec<usize>,
}

/// What differs between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageDiff {
    /// Of both.
    pub size_bytes: [u64; 2],
    /// Layers that both begin with.
    pub shared_layers: usize,
    /// In order of paths.
    pub files: Vec<FileDiff>,
    /// Keys of the configuration with their values in both.
    pub settings: BTreeMap<String, [serde_json::Value; 2]>,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Absolute.
    pub path: String,
    /// What the second image does with it.
    pub change: Change,
    /// In both; 0 where it is not there.
    pub size_bytes: [u64; 2],
    /// Of a changed one: `type`, `content`, `mode`, `owner`, `target`.
    pub what: Vec<&'static str>,
}

impl Engine {
    /// What an image's layers hold.
    pub fn image_tree(&self, name: &str) -> Result<ImageTree> {
        let image = self.store.image(name)?;
        Ok(self.tree(&image, &BTreeSet::new())?.finish(&image))
    }

    /// With the content of the files of some layers, by index.
    fn tree(&self, image: &Image, with_content: &BTreeSet<usize>) -> Result<Tree> {
        let mut tree = Tree::default();
        for (index, layer) in image.layers.iter().enumerate() {
            let mut entries = Vec::new();
            self.store.layer_entries(layer, with_content.contains(&index), |entry| entries.push(entry))?;
            tree.lay(entries);
        }
        Ok(tree)
    }

    /// What the second image has that the first has not, and the other way round.
    pub fn image_diff(&self, first: &str, second: &str) -> Result<ImageDiff> {
        let images = [self.store.image(first)?, self.store.image(second)?];
        let pairs = images[0].layers.iter().zip(&images[1].layers);
        let shared_layers = pairs.take_while(|(left, right)| left.diff_id == right.diff_id).count();
        let mut sides = [self.tree(&images[0], &BTreeSet::new())?, self.tree(&images[1], &BTreeSet::new())?];
        let unread = unread(&sides, shared_layers);
        for (side, layers) in unread.iter().enumerate().filter(|(_, layers)| !layers.is_empty()) {
            sides[side] = self.tree(&images[side], layers)?;
        }
        let settings = settings(&images)?;
        let size_bytes = [sides[0].size_bytes(), sides[1].size_bytes()];
        Ok(ImageDiff { size_bytes, shared_layers, files: differences(&sides[0], &sides[1]), settings })
    }
}

fn settings(images: &[Image; 2]) -> Result<BTreeMap<String, [serde_json::Value; 2]>> {
    let read = |image: &Image| {
        serde_json::to_value(&image.config.config)
            .map_err(|error| crate::engine::host_error("can't compare the configurations", error))
    };
    let [left, right] = [read(&images[0])?, read(&images[1])?];
    let keys = [&left, &right].into_iter().filter_map(serde_json::Value::as_object).flat_map(|object| object.keys());
    let mut settings = BTreeMap::new();
    for key in keys.filter(|key| left.get(key.as_str()) != right.get(key.as_str())) {
        let value = |side: &serde_json::Value| side.get(key.as_str()).cloned().unwrap_or_default();
        settings.insert(key.clone(), [value(&left), value(&right)]);
    }
    Ok(settings)
}

/// Layers above each other.
#[derive(Default)]
struct Tree {
    layers: Vec<Vec<Laid>>,
    /// Where what is seen at a path lies: layer, and index in it.
    seen: BTreeMap<String, (usize, usize)>,
}

/// An entry of a layer, and what became of it.
struct Laid {
    entry: LayerEntry,
    change: Change,
    is_hidden: bool,
    /// How many names of its content are seen.
    names: usize,
    /// Of a further name, the file.
    file: usize,
}

impl Tree {
    fn lay(&mut self, mut entries: Vec<LayerEntry>) {
        let number = self.layers.len();
        self.layers.push(Vec::new());
        // What is taken away is what lower layers have, wherever in the layer it is said.
        entries.sort_by_key(|entry| !matches!(entry.kind, EntryKind::Removed | EntryKind::Emptied));
        for entry in entries {
            let path = entry.path.clone();
            let own = self.layers[number].len();
            let mut laid = Laid { entry, change: Change::Added, is_hidden: false, names: 1, file: own };
            match &laid.entry.kind {
                EntryKind::Removed => {
                    self.hide_below(&path);
                    self.hide(&path);
                    laid.change = Change::Removed;
                    self.layers[number].push(laid);
                    continue;
                }
                EntryKind::Emptied => {
                    self.hide_below(&path);
                    continue;
                }
                EntryKind::Folder if self.is_folder(&path) => laid.change = Change::Changed,
                kind => {
                    if *kind != EntryKind::Folder {
                        self.hide_below(&path);
                    }
                    if self.seen.contains_key(&path) {
                        laid.change = Change::Changed;
                    }
                }
            }
            self.hide(&path);
            if let EntryKind::HardLink(target) = &laid.entry.kind
                && let Some((layer, index)) = self.seen.get(target).copied().filter(|(layer, _)| *layer == number)
            {
                let file = self.layers[layer][index].file;
                self.layers[layer][file].names += 1;
                (laid.file, laid.names) = (file, 0);
            }
            self.layers[number].push(laid);
            self.seen.insert(path, (number, own));
        }
    }

    fn is_folder(&self, path: &str) -> bool {
        self.seen.get(path).is_some_and(|(layer, index)| self.layers[*layer][*index].entry.kind == EntryKind::Folder)
    }

    fn hide_below(&mut self, path: &str) {
        // The character behind the slash ends the range.
        let range = match path {
            "" => "\0".to_owned().."\u{10ffff}".to_owned(),
            path => format!("{path}/")..format!("{path}0"),
        };
        let below: Vec<String> = self.seen.range(range).map(|(path, _)| path.clone()).collect();
        below.iter().for_each(|path| self.hide(path));
    }

    fn hide(&mut self, path: &str) {
        let Some((layer, index)) = self.seen.remove(path) else { return };
        let file = self.layers[layer][index].file;
        self.layers[layer][index].is_hidden = true;
        let names = &mut self.layers[layer][file].names;
        *names = names.saturating_sub(1);
    }

    fn size_bytes(&self) -> u64 {
        self.layers.iter().flatten().map(|laid| laid.entry.size_bytes).sum()
    }

    fn finish(self, image: &Image) -> ImageTree {
        let size_bytes = self.size_bytes();
        let mut wasted: BTreeMap<String, Waste> = BTreeMap::new();
        let mut told = instructions(image).into_iter();
        let layers = image.layers.iter().zip(self.layers).enumerate().map(|(number, (layer, laid))| {
            let (instruction, created) = told.next().unwrap_or_default();
            let mut tree = LayerTree {
                diff_id: layer.diff_id,
                instruction,
                created,
                size_bytes: 0,
                files: 0,
                removed: 0,
                wasted_bytes: 0,
                entries: Vec::new(),
            };
            for Laid { entry, change, is_hidden, names, .. } in laid {
                match change {
                    Change::Removed => tree.removed += 1,
                    Change::Added | Change::Changed => tree.files += 1,
                }
                tree.size_bytes += entry.size_bytes;
                let path = shown(&entry);
                if names == 0 && entry.size_bytes > 0 {
                    tree.wasted_bytes += entry.size_bytes;
                    let waste = wasted.entry(path.clone()).or_insert_with(|| Waste {
                        path: path.clone(),
                        wasted_bytes: 0,
                        layers: Vec::new(),
                    });
                    waste.wasted_bytes += entry.size_bytes;
                    waste.layers.push(number + 1);
                }
                tree.entries.push(TreeEntry { path, change, size_bytes: entry.size_bytes, is_hidden });
            }
            tree.entries.sort_by(|left, right| left.path.cmp(&right.path));
            tree
        });
        let layers: Vec<LayerTree> = layers.collect();
        let mut wasted: Vec<Waste> = wasted.into_values().collect();
        wasted.sort_by_key(|waste| std::cmp::Reverse(waste.wasted_bytes));
        let wasted_bytes = layers.iter().map(|layer| layer.wasted_bytes).sum();
        ImageTree { id: image.id, size_bytes, wasted_bytes, layers, wasted }
    }
}

fn shown(entry: &LayerEntry) -> String {
    let slash = if entry.kind == EntryKind::Folder && !entry.path.is_empty() { "/" } else { "" };
    format!("/{}{slash}", entry.path)
}

/// Instruction and time of each layer. A history that tells less than there is tells of the last ones.
fn instructions(image: &Image) -> Vec<(String, Option<String>)> {
    let told: Vec<&History> = image.config.history.iter().filter(|entry| !entry.empty_layer).collect();
    let untold = image.layers.len().saturating_sub(told.len());
    let told = told.into_iter().map(|entry| {
        // What was imported has a comment only.
        let created_by = entry.created_by.clone().filter(|text| !text.is_empty());
        (created_by.or_else(|| entry.comment.clone()).unwrap_or_default(), entry.created.clone())
    });
    std::iter::repeat_n((String::new(), None), untold).chain(told).collect()
}

/// The layers of both whose files have to be read to be told apart: those that are of one size. What both have in a layer
/// that both have is the same.
fn unread(sides: &[Tree; 2], shared_layers: usize) -> [BTreeSet<usize>; 2] {
    let mut unread = [BTreeSet::new(), BTreeSet::new()];
    for (path, first) in &sides[0].seen {
        let Some(second) = sides[1].seen.get(path) else { continue };
        let files = [(0, first), (1, second)].map(|(side, (layer, index))| {
            let laid = &sides[side].layers[*layer];
            &laid[laid[*index].file].entry
        });
        let is_same = first == second && first.0 < shared_layers;
        if !is_same
            && files.iter().all(|file| file.kind == EntryKind::File)
            && files[0].size_bytes == files[1].size_bytes
        {
            unread[0].insert(first.0);
            unread[1].insert(second.0);
        }
    }
    unread
}

fn differences(left: &Tree, right: &Tree) -> Vec<FileDiff> {
    let entry = |tree: &'_ Tree, path: &str| {
        tree.seen.get(path).map(|(layer, index)| {
            let laid = &tree.layers[*layer][*index];
            // A further name has the content of the file.
            (laid.entry.clone(), tree.layers[*layer][laid.file].entry.clone())
        })
    };
    let mut paths: Vec<&String> = left.seen.keys().chain(right.seen.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut files = Vec::new();
    for path in paths {
        let (change, size_bytes, what, kind) = match (entry(left, path), entry(right, path)) {
            (Some((own, file)), None) => (Change::Removed, [file.size_bytes, 0], Vec::new(), own),
            (None, Some((own, file))) => (Change::Added, [0, file.size_bytes], Vec::new(), own),
            (Some(before), Some(after)) => {
                let what = changed(&before, &after);
                if what.is_empty() {
                    continue;
                }
                (Change::Changed, [before.1.size_bytes, after.1.size_bytes], what, after.0)
            }
            (None, None) => continue,
        };
        files.push(FileDiff { path: shown(&kind), change, size_bytes, what });
    }
    files
}

fn changed(before: &(LayerEntry, LayerEntry), after: &(LayerEntry, LayerEntry)) -> Vec<&'static str> {
    let (left, right) = (&before.1, &after.1);
    let mut what = Vec::new();
    match (&left.kind, &right.kind) {
        (EntryKind::File, EntryKind::File) => {
            // Where one was not read, they are of one layer that both have, which the other was read of for other files.
            let contents = left.content.as_ref().zip(right.content.as_ref());
            if left.size_bytes != right.size_bytes || contents.is_some_and(|(left, right)| left != right) {
                what.push("content");
            }
        }
        (EntryKind::Symlink(left), EntryKind::Symlink(right)) if left != right => what.push("target"),
        (left, right) if std::mem::discriminant(left) != std::mem::discriminant(right) => what.push("type"),
        _ => {}
    }
    if left.mode != right.mode {
        what.push("mode");
    }
    if left.owner != right.owner {
        what.push("owner");
    }
    what
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    /// `PATH SIZE`, `PATH/` a folder, `-PATH` taken away, `PATH/*` emptied, `PATH = FILE` a further name.
    fn layer(lines: &[&str]) -> Vec<LayerEntry> {
        let entry = |line: &&str| {
            let (path, size_bytes, kind) = match line.split_once(' ') {
                Some((path, link)) if link.starts_with("= ") => (path, 0, EntryKind::HardLink(link[2..].into())),
                Some((path, size)) => (path, size.parse().unwrap(), EntryKind::File),
                None => match (line.strip_prefix('-'), line.strip_suffix("/*")) {
                    (Some(path), _) => (path, 0, EntryKind::Removed),
                    (_, Some(path)) => (path, 0, EntryKind::Emptied),
                    _ => (line.trim_end_matches('/'), 0, EntryKind::Folder),
                },
            };
            let content = (kind == EntryKind::File).then(|| Digest::of(size_bytes.to_string()));
            LayerEntry { path: path.to_owned(), kind, size_bytes, mode: 0o644, owner: (0, 0), content }
        };
        lines.iter().map(entry).collect()
    }

    fn tree(layers: &[&[&str]]) -> Tree {
        let mut tree = Tree::default();
        layers.iter().for_each(|lines| tree.lay(layer(lines)));
        tree
    }

    /// Of each layer what is hidden and what is wasted.
    fn wasted(layers: &[&[&str]]) -> String {
        let of = |laid: &Vec<Laid>| {
            let hidden = laid.iter().filter(|laid| laid.is_hidden).map(|laid| laid.entry.path.as_str());
            let bytes: u64 = laid.iter().filter(|laid| laid.names == 0).map(|laid| laid.entry.size_bytes).sum();
            format!("{bytes} [{}]", hidden.collect::<Vec<_>>().join(" "))
        };
        tree(layers).layers.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_later_layers_hide_is_wasted() {
        assert_snapshot!(wasted(&[&["a 10", "b 5"], &["a 11"]]), @"10 [a]; 0 []");
        assert_snapshot!(wasted(&[&["d/", "d/a 10", "d/s/b 5", "d.x 1"], &["-d"]]), @"15 [d d/a d/s/b]; 0 []");
        assert_snapshot!(wasted(&[&["d/", "d/a 10"], &["d/b 2", "d/*", "d/"]]), @"10 [d d/a]; 0 []");
        assert_snapshot!(wasted(&[&["d/", "d/a 10"], &["d 3"], &["d/", "d/a 1"]]), @"10 [d d/a]; 3 [d]; 0 []");
        assert_snapshot!(wasted(&[&["d/", "d/a 10"], &["d/"]]), @"0 [d]; 0 []");
        // The bytes stay as long as one of their names is seen.
        assert_snapshot!(wasted(&[&["a 10", "b = a"], &["-a"]]), @"0 [a]; 0 []");
        assert_snapshot!(wasted(&[&["a 10", "b = a"], &["-a"], &["b 1"]]), @"10 [a b]; 0 []; 0 []");
        assert_snapshot!(wasted(&[&["a 10", "a 11"]]), @"10 [a]");
        assert_snapshot!(wasted(&[&["a 1"], &["-nothing", "/*"]]), @"1 [a]; 0 []");
    }

    #[test]
    fn images_differ_by_what_is_seen() {
        let diff = |left: &[&[&str]], right: &[&[&str]]| {
            let line = |file: &FileDiff| format!("{} {} {}", file.change.letter(), file.path, file.what.join(","));
            differences(&tree(left), &tree(right)).iter().map(line).collect::<Vec<_>>().join("; ")
        };
        assert_snapshot!(diff(&[&["a 1", "b 2", "c 3"]], &[&["a 1", "b 4", "d/"]]), @"C /b content; D /c ; A /d/ ");
        assert_snapshot!(diff(&[&["a 1"], &["b 2"]], &[&["b 2", "a 7"], &["a 1"]]), @"");
        assert_snapshot!(diff(&[&["a 1", "b = a"]], &[&["a 1", "b 1"]]), @"");
        assert_snapshot!(diff(&[&["a 1", "b = a"]], &[&["a 1", "b/"]]), @"C /b/ type");
    }

    /// A later layer that has a file again with the same size has the layer of the first image read, not that of the second.
    #[test]
    fn a_layer_that_both_have_is_the_same_whoever_read_it() {
        let first = tree(&[&["a 1", "b 2"]]);
        let mut second = Tree::default();
        let unread = layer(&["a 1", "b 2"]).into_iter().map(|entry| LayerEntry { content: None, ..entry });
        second.lay(unread.collect());
        second.lay(layer(&["b 2"]));
        assert!(differences(&first, &second).is_empty());
    }
}
