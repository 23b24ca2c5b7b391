//! The ways of `fuzz/` to what reads hostile bytes. Not in any product.

use std::io::{Cursor, Read};
use std::path::PathBuf;

use crate::layer::{Indexer, Stop};
use crate::tar::Reader;

/// Members of a tar, with their content.
pub fn tar(data: &[u8]) {
    let mut reader = Reader::new(data);
    while let Ok(Some(member)) = reader.next() {
        let mut content = Vec::new();
        if reader.read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, member.size_bytes);
        }
    }
}

/// A layer, indexed as one file and unpacked into a folder, which nothing may leave.
pub fn layer(data: &[u8]) {
    let indexed = index(data);
    let folder = PathBuf::from(format!("/dev/shm/carrack-fuzz-{}", std::process::id()));
    let _ = crate::remove_tree(&folder);
    let inside = folder.join("inside");
    std::fs::create_dir_all(&inside).expect("a folder");
    let unpacked = crate::layer::apply(data, &inside, None);
    let outside = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(outside, 1, "something lies beside the layer's folder");
    if let Some(Ok(_)) = indexed {
        assert!(unpacked.is_ok(), "indexed, yet not to be unpacked: {unpacked:?}");
    }
    let _ = crate::remove_tree(&folder);
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
