//! The working copy that a folder is, read from the repository's own files.

use std::path::{Path, PathBuf};

use carrack_engine::build::Vcs;

/// The commit that is checked out in a folder; none outside of a repository.
pub(crate) fn commit(folder: &str) -> Option<String> {
    of(Path::new(folder)).map(|vcs| vcs.revision)
}

/// The commit, and where the repository was cloned from, without what may be a secret in that.
pub(crate) fn of(folder: &Path) -> Option<Vcs> {
    let (revision, shared) = head(folder)?;
    let config = std::fs::read_to_string(shared.join("config")).unwrap_or_default();
    let origin = config.lines().map(str::trim).skip_while(|line| *line != "[remote \"origin\"]").skip(1);
    let url = origin.take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "url").then(|| value.trim())
    });
    Some(Vcs { source: url.map(shown).unwrap_or_default(), revision })
}

fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    format!("{scheme}://{}/{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// The commit, and the folder that the repository's worktrees share.
fn head(folder: &Path) -> Option<(String, PathBuf)> {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let git = folder.ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    // A worktree or a submodule has a file there that names its folder, and shares the references of another.
    let own = match git.is_dir() {
        true => git,
        false => git.parent()?.join(read(git.clone())?.strip_prefix("gitdir: ")?),
    };
    let shared = read(own.join("commondir")).map_or_else(|| own.clone(), |shared| own.join(shared));
    let head = read(own.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else { return Some((head, shared)) };
    let commit = read(own.join(reference)).or_else(|| read(shared.join(reference))).or_else(|| {
        let packed = read(shared.join("packed-refs"))?;
        let line = packed.lines().find(|line| line.ends_with(&format!(" {reference}")))?;
        line.split_once(' ').map(|(commit, _)| commit.to_owned())
    });
    Some((commit?, shared))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_commit_is_found_from_a_folder_of_a_repository_and_of_its_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let of = |path: &str| super::commit(folder.path().join(path).to_str().unwrap());
        write("main/shop/compose.yaml", "");
        assert_eq!(of("main/shop"), None, "no repository");
        write("main/.git/HEAD", "ref: refs/heads/main\n");
        write("main/.git/packed-refs", "# pack-refs with: peeled\naaaa refs/heads/main\nbbbb refs/heads/other\n");
        assert_eq!(of("main/shop").as_deref(), Some("aaaa"));
        write("main/.git/refs/heads/main", "cccc\n");
        assert_eq!(of("main/shop").as_deref(), Some("cccc"));
        let source = |path: &str| super::of(&folder.path().join(path)).unwrap().source;
        assert_eq!(source("main"), "");
        write("main/.git/config", "[core]\n\turl = x\n[remote \"origin\"]\n\turl = https://me:token@host/shop.git\n");
        assert_eq!(source("main"), "https://host/shop.git");
        write("tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
        write("main/.git/worktrees/tree/commondir", "../..\n");
        write("main/.git/worktrees/tree/HEAD", "ref: refs/heads/other\n");
        assert_eq!(of("tree").as_deref(), Some("bbbb"));
        write("main/.git/worktrees/tree/HEAD", "dddd\n");
        assert_eq!(of("tree").as_deref(), Some("dddd"));
    }
}
