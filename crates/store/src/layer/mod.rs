//! Layers: a tar becomes a tree ([`extract`]), an overlay's upper directory becomes a tar ([`diff`]), several trees are
//! seen as one ([`View`]).

mod changes;
mod compose;
mod diff;
mod extract;
mod index;
mod list;
pub(crate) mod node;
mod transfer;
mod view;

pub use changes::{NameChange, changes};
pub use compose::{LayerAttributes, LayerContent, LayerWriter};
pub use diff::write_tree;
pub(crate) use diff::{Each, ROOT_MODE, diff, diff_without};
pub use extract::extract;
pub(crate) use extract::{Below, apply, make_implicit, malformed, told};
pub(crate) use index::{Indexer, Stop};
pub use list::{EntryKind, LayerEntry};
pub(crate) use node::copy_attributes;
pub use node::copy_tree;
pub use transfer::{Found, Place};
pub use view::View;

/// A removed name in a layer's tar: this and the name (image-spec `layer.md`, Whiteouts).
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// A folder in a layer's tar that hides what lies below it.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files, which no other snapshotter has a use for.
pub(crate) const WHITEOUT_META: &[u8] = b".wh..wh.";

/// What the kernel's overlay keeps its notes under.
pub(crate) const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// On a folder of an upper directory: `y` hides what lies below it.
pub(crate) const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
