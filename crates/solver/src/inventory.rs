//! The packages of an image, read from its layers.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};

use carrack_attestation::{Bill, Form, Inventory, Kind, Subject, TEXT_LIMIT};
use carrack_diag::Result;
use carrack_oci::{Digest, History, ImageConfig};
use carrack_store::{Image, Layer, LayerMember, Store};

use crate::stages::Stages;

/// Larger programs are put aside on disk while they are read, in bytes.
const IN_MEMORY_MAX: u64 = 8 << 20;

/// The packages of layers, base first, each with what brought it; what was copied from a stage also with what brought it
/// there, as long as the build cache knows the stage. Reads every layer once; nothing is left behind.
///
/// # Errors
/// Where a layer is missing or no tar.
pub fn bill(store: &Store, layers: &[Layer], history: &[History]) -> Result<Bill> {
    let mut bill = bill_of(store, layers, instructions(history))?;
    Stages::complete(store, layers, &mut bill)?;
    Ok(bill)
}

/// What made each layer, as far as it is told.
pub(crate) fn instructions(history: &[History]) -> impl Iterator<Item = String> {
    let told = history.iter().filter(|entry| !entry.empty_layer);
    // What was imported has a comment only.
    told.map(|entry| entry.created_by.as_ref().or(entry.comment.as_ref()).cloned().unwrap_or_default())
}

pub(crate) fn bill_of(store: &Store, layers: &[Layer], instructions: impl IntoIterator<Item = String>) -> Result<Bill> {
    let mut inventory = Inventory::new();
    let mut instructions = instructions.into_iter();
    for layer in layers {
        inventory.layer(layer.diff_id, &instructions.next().unwrap_or_default());
        store.walk_layer(layer, &mut |path, member, content| {
            let kind = match &member {
                LayerMember::File { mode, .. } => Kind::File(*mode),
                LayerMember::Dir => Kind::Folder,
                LayerMember::HardLink(target) => Kind::HardLink(target),
                LayerMember::Other => Kind::Other,
                LayerMember::Whiteout => Kind::Gone,
                LayerMember::Opaque => Kind::Emptied,
            };
            match inventory.member(path, kind) {
                Some(form) => take(store, &mut inventory, (path, form, &member), content),
                None => Ok(()),
            }
        })?;
    }
    Ok(inventory.finish())
}

/// What documents about an image speak of.
pub fn subject(image: &Image) -> Subject {
    subject_of(image.display_name(), image.id, &image.config)
}

/// One that has no time is as old as time.
pub(crate) fn subject_of(name: String, id: Digest, config: &ImageConfig) -> Subject {
    let created = config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let seconds = created.unwrap_or_default().as_second();
    let created = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
    Subject { name, id, created }
}

fn take(
    store: &Store,
    inventory: &mut Inventory,
    (path, form, member): (&str, Form, &LayerMember),
    content: &mut dyn Read,
) -> io::Result<()> {
    let LayerMember::File { size_bytes, .. } = member else { return Ok(()) };
    if form != Form::Program && *size_bytes > TEXT_LIMIT {
        inventory.unread(path, format!("it is larger than {TEXT_LIMIT} bytes"));
        return Ok(());
    }
    let mut start = Vec::new();
    if form == Form::Program {
        content.take(4).read_to_end(&mut start)?;
    }
    // Of scripts and the like nothing more is of interest.
    if form == Form::Program && start != b"\x7fELF" {
        inventory.read(path, form, &mut Cursor::new(start));
    } else if form == Form::Program && *size_bytes > IN_MEMORY_MAX {
        let mut file = match aside(store) {
            Ok(file) => file,
            Err(error) => {
                inventory.unread(path, format!("it can't be put aside to be read: {error}"));
                return Ok(());
            }
        };
        io::copy(&mut start.chain(content), &mut file)?;
        file.rewind()?;
        inventory.read(path, form, &mut file);
    } else {
        let mut bytes = start;
        content.read_to_end(&mut bytes)?;
        inventory.read(path, form, &mut Cursor::new(bytes));
    }
    Ok(())
}

/// A file without a name.
fn aside(store: &Store) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(open(&store.roots().data, flags, Mode::from_raw_mode(0o600))?.into())
}
