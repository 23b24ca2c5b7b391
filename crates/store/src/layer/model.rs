//! Random layers against a model of what layers mean, against the kernel's overlay, and back to tars and again.

use std::collections::BTreeMap;

use carrack_testkit::tar::Builder;
use proptest::prelude::*;

use crate::Snapshotter as _;
use crate::testing::{Scene, is_root};

/// What a layer says, one after the other.
#[derive(Debug, Clone)]
enum Say {
    File(String, String),
    Dir(String),
    Symlink(String, String),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// Path to content; folders have none.
type Tree = BTreeMap<String, Option<String>>;

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn parents(path: &str) -> impl Iterator<Item = String> {
    path.match_indices('/').map(|(at, _)| path[..at].to_owned())
}

/// image-spec `layer.md`: whiteouts speak of the layers below only; of a layer's own entries the last wins. None where an
/// entry lies below a file.
fn apply(lower: &Tree, layer: &[Say]) -> Option<Tree> {
    let (mut lower, mut own) = (lower.clone(), Tree::new());
    for say in layer {
        match say {
            Say::Whiteout(path) => lower.retain(|known, _| known != path && !is_below(known, path)),
            Say::Opaque(path) => {
                make_parents(&mut own, &lower, &format!("{path}/x"))?;
                lower.retain(|known, _| !is_below(known, path));
            }
            Say::File(path, content) => {
                make_parents(&mut own, &lower, path)?;
                own.retain(|known, _| known != path && !is_below(known, path));
                lower.retain(|known, _| known != path && !is_below(known, path));
                own.insert(path.clone(), Some(content.clone()));
            }
            Say::Dir(path) => {
                make_parents(&mut own, &lower, path)?;
                own.insert(path.clone(), None);
                if lower.get(path).is_some_and(Option::is_some) {
                    lower.remove(path);
                }
            }
            Say::Symlink(..) | Say::HardLink(..) => return None,
        }
        if let Say::Whiteout(path) = say {
            make_parents(&mut own, &lower, path)?;
        }
    }
    lower.extend(own);
    Some(lower)
}

fn make_parents(own: &mut Tree, lower: &Tree, path: &str) -> Option<()> {
    for parent in parents(path) {
        match own.get(&parent).or_else(|| lower.get(&parent)) {
            Some(Some(_)) => return None,
            _ => own.insert(parent, None),
        };
    }
    Some(())
}

fn tar(layer: &[Say]) -> Builder {
    layer.iter().fold(Builder::new(), |tar, say| match say {
        Say::File(path, content) => tar.file(path, content),
        Say::Dir(path) => tar.dir(&format!("{path}/")),
        Say::Symlink(path, target) => tar.symlink(path, target),
        Say::HardLink(path, target) => tar.hard_link(path, target),
        Say::Opaque(path) => tar.file(&format!("{path}/.wh..wh..opq"), ""),
        Say::Whiteout(path) => match path.rsplit_once('/') {
            Some((dir, name)) => tar.file(&format!("{dir}/.wh.{name}"), ""),
            None => tar.file(&format!(".wh.{path}"), ""),
        },
    })
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![Just("a"), Just("b")], 1..4).prop_map(|parts| parts.join("/"))
}

fn any_layers(links: bool) -> impl Strategy<Value = Vec<Vec<Say>>> {
    let plain = prop_oneof![
        4 => (any_path(), "[xyz]").prop_map(|(path, content)| Say::File(path, content)),
        4 => any_path().prop_map(Say::Dir),
        2 => any_path().prop_map(Say::Whiteout),
        1 => any_path().prop_map(Say::Opaque),
    ];
    let target = prop_oneof![any_path(), any_path().prop_map(|path| format!("/{path}")), Just("../..".to_owned())];
    let link = prop_oneof![
        (any_path(), target.clone()).prop_map(|(path, target)| Say::Symlink(path, target)),
        (any_path(), any_path()).prop_map(|(path, target)| Say::HardLink(path, target)),
    ];
    let say = prop_oneof![3 => plain, u32::from(links) => link];
    prop::collection::vec(prop::collection::vec(say, 1..7), 1..4)
}

/// Paths and contents of what [`Scene::show`] lists.
fn tree_of(listing: &str) -> Tree {
    let entry = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let path = fields.next().unwrap().trim_start_matches('/').to_owned();
        let content = line.starts_with('-').then(|| fields.next().unwrap_or("=")[1..].to_owned());
        (path, content)
    };
    listing.lines().map(entry).filter(|(path, _)| !path.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn layers_mean_what_the_specification_says(layers in any_layers(false)) {
        if !is_root() {
            return Ok(());
        }
        let scene = Scene::new();
        let wanted = layers.iter().try_fold(Tree::new(), |tree, layer| apply(&tree, layer));
        let tars: Vec<_> = layers.iter().map(|layer| tar(layer).build()).collect();
        match (scene.apply(&tars), wanted) {
            (Ok(chain), Some(wanted)) => prop_assert_eq!(tree_of(&scene.show(&chain)), wanted),
            (Err(error), None) => prop_assert_eq!(error.code.id, "store/hostile-layer"),
            (found, wanted) => prop_assert!(false, "{:?} but {:?}", found.map(|chain| scene.show(&chain)), wanted),
        }
    }

    /// With links of all kinds: our view is the kernel's, nothing gets out, and each layer written again is the same.
    #[test]
    fn layers_survive_being_written_again(layers in any_layers(true)) {
        if !is_root() {
            return Ok(());
        }
        let (scene, anew) = (Scene::new(), Scene::new());
        let tars: Vec<_> = layers.iter().map(|layer| tar(layer).build()).collect();
        let Ok(chain) = scene.apply(&tars) else { return Ok(()) };
        let shown = scene.show(&chain);
        let mut parents: (Option<carrack_oci::Digest>, Option<carrack_oci::Digest>) = (None, None);
        let dirs = scene.store.lower_dirs(Some(&chain)).unwrap();
        for (dir, tar) in dirs.iter().rev().zip(&tars) {
            let below = scene.store.lower_dirs(parents.0.as_ref()).unwrap();
            let mut again = Vec::new();
            super::diff(dir, &below[0], &mut again, &mut |_, _| Ok(())).unwrap();
            let (diff_id, original) = (carrack_oci::Digest::of(&again), carrack_oci::Digest::of(tar));
            anew.store.apply(&anew.lease, parents.1.as_ref(), &diff_id, &mut again.as_slice()).unwrap();
            parents = (
                Some(crate::chain_of(parents.0.as_ref(), &original)),
                Some(crate::chain_of(parents.1.as_ref(), &diff_id)),
            );
        }
        prop_assert_eq!(anew.show(&parents.1.unwrap()), shown);
    }
}

proptest! {
    // Each is synced to a disk: memory has no files that can be mounted.
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// As one file and unpacked, all layers show the same, or are refused alike.
    #[test]
    fn layers_are_the_same_in_every_form(layers in any_layers(true)) {
        let (true, Some(one_file)) = (is_root(), Scene::one_file()) else { return Ok(()) };
        let unpacked = Scene::new();
        let tars: Vec<_> = layers.iter().map(|layer| tar(layer).build()).collect();
        match (unpacked.apply(&tars), one_file.apply(&tars)) {
            (Ok(chain), Ok(_)) => prop_assert_eq!(one_file.show(&chain), unpacked.show(&chain)),
            (Err(left), Err(right)) => prop_assert_eq!(left.code.id, right.code.id),
            (left, right) => prop_assert!(false, "{:?} but {:?}", left.map(|chain| unpacked.show(&chain)), right),
        }
    }

    /// Damaged ones too, with checksums that hold: whoever writes the index reads what strangers have written.
    #[test]
    fn damage_means_the_same_in_every_form(
        layers in any_layers(true),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (true, Some(one_file)) = (is_root(), Scene::one_file()) else { return Ok(()) };
        let unpacked = Scene::on_disk();
        let mut tars: Vec<_> = layers.iter().map(|layer| tar(layer).build()).collect();
        let all_kinds = Builder::new()
            .xattr("user.note", "text")
            .file("a/noted", "noted")
            .char_device("a/device", 1, 3)
            .fifo("a/pipe")
            .symlink("a/link", "noted")
            .hard_link("a/again", "a/noted");
        let mut damaged = all_kinds.build_cut();
        damaged.extend(tars.pop().unwrap_or_else(|| Builder::new().build()));
        for (index, value) in flips {
            let at = index.index(damaged.len());
            damaged[at] = value;
            let block = at / 512 * 512;
            let mut header = ::tar::Header::new_ustar();
            header.as_mut_bytes().copy_from_slice(&damaged[block..block + 512]);
            header.set_cksum();
            damaged[block..block + 512].copy_from_slice(header.as_bytes());
        }
        tars.push(damaged);
        match (unpacked.apply(&tars), one_file.apply(&tars)) {
            (Ok(chain), Ok(_)) => prop_assert_eq!(one_file.show(&chain), unpacked.show(&chain)),
            (Err(left), Err(right)) => prop_assert_eq!(left.code.id, right.code.id),
            (left, right) => prop_assert!(false, "{:?} but {:?}", left.map(|chain| unpacked.show(&chain)), right),
        }
    }
}
