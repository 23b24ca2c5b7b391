//! Names of users and groups, looked up in a tree.

use std::path::Path;

use carrack_specgen::passwd;

use crate::tree::{Owner, Tree};

/// The owner that `USER[:GROUP]` means in `tree`. A number without a group is that group too, as documented for
/// `COPY --chown`. The error completes "cannot find the owner".
pub(crate) fn lookup(text: &str, tree: &Tree) -> Result<Owner, String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let numbers = (user.parse::<u32>(), group.map(str::parse::<u32>));
    let owner = match numbers {
        (Ok(uid), None) => Owner { uid, gid: uid },
        (Ok(uid), Some(Ok(gid))) => Owner { uid, gid },
        _ => {
            let read =
                |path: &str| tree.text(Path::new(path)).map_err(|error| format!("/{path} cannot be read: {error}"));
            let identity = passwd::identify(text, &[], &read("etc/passwd")?, &read("etc/group")?);
            let identity = identity.map_err(|unknown| unknown.to_string())?;
            Owner { uid: identity.uid, gid: identity.gid }
        }
    };
    // As for users of programs: above it, half of all programs read a negative number.
    match i32::try_from(owner.uid.max(owner.gid)) {
        Ok(_) => Ok(owner),
        Err(_) => Err(format!("user and group ids must be between 0 and {}", i32::MAX)),
    }
}
