//! Targets of `fuzz/`: what layers and archives hold.

mod archive;

use std::io::{Cursor, Read};
use std::path::PathBuf;

use crate::layer::{Indexer, Stop};
use crate::tar::Reader;

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] =
    &[("archive", archive::archive), ("compression", compression), ("layer", layer), ("tar", tar)];

/// Members of a tar, with their content: never more than was there.
fn tar(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut total = 0;
    while let Ok(Some(member)) = reader.next() {
        let mut content = Vec::new();
        if reader.read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, member.size_bytes);
        }
        total += content.len();
        assert!(!member.path.contains(&0) && !member.link.contains(&0));
    }
    assert!(total <= data.len());
}

/// A layer, indexed as one file and unpacked into a folder, which nothing may leave.
fn layer(data: &[u8]) {
    let indexed = index(data);
    let folder = PathBuf::from(format!("/dev/shm/carrack-fuzz-{}", std::process::id()));
    let _ = crate::remove_tree(&folder);
    let inside = folder.join("inside");
    std::fs::create_dir_all(&inside).expect("a folder");
    let unpacked = crate::layer::apply(data, &inside, None);
    let outside = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(outside, 1, "something lies beside the layer's folder");
    let _ = crate::remove_tree(&folder);
    assert!(!folder.exists(), "a layer's folder can't be removed");
    if let Some(Ok(_)) = indexed {
        assert!(unpacked.is_ok(), "indexed, yet not to be unpacked: {unpacked:?}");
    }
}

/// None where an index can't say it.
fn index(data: &[u8]) -> Option<Result<Vec<u8>, ()>> {
    let mut reader = Reader::new(Cursor::new(data));
    let mut indexer = Indexer::new(None).expect("no lower layers");
    loop {
        match reader.next() {
            Err(_) => return Some(Err(())),
            Ok(None) => return Some(indexer.image(data.len() as u64).map_err(|_| ())),
            Ok(Some(member)) => match indexer.member(&member, reader.get_ref().position()) {
                Ok(()) => {}
                Err(Stop::Inexpressible) => return None,
                Err(Stop::Trouble(_)) => return Some(Err(())),
            },
        }
    }
}

/// A compressed stream, of which a reader takes as much as it wants and no more.
fn compression(data: &[u8]) {
    if let Ok(stream) = crate::decompress(data) {
        let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
    }
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
