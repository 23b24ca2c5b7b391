//! Names of users and groups, looked up in a tree.

use std::path::Path;

use carrack_specgen::passwd;

use crate::tree::{Owner, Tree};

/// The owner that `USER[:GROUP]` means in `tree`. A number without a group is that group too, as documented for
/// `COPY --chown`. The error completes "cannot find the owner".
pub(crate) fn lookup(text: &str, tree: &Tree) -> Result<Owner, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if let (Ok(uid), None) = (user.parse::<u32>(), group) {
        return Ok(Owner { uid, gid: uid });
    }
    if let (Ok(uid), Some(Ok(gid))) = (user.parse::<u32>(), group.map(str::parse::<u32>)) {
        return Ok(Owner { uid, gid });
    }
    let read = |path: &str| tree.text(Path::new(path)).map_err(|error| format!("/{path} cannot be read: {error}"));
    let identity = passwd::identify(text, &[], &read("etc/passwd")?, &read("etc/group")?);
    identity.map(|identity| Owner { uid: identity.uid, gid: identity.gid }).map_err(|unknown| unknown.to_string())
}
