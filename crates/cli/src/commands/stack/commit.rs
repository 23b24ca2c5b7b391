use std::path::{Path, PathBuf};

/// The commit that is checked out in a folder, read from the repository's own files; none outside of one.
pub(super) fn of(folder: &str) -> Option<String> {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let git = Path::new(folder).ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    // A worktree or a submodule has a file there that names its folder, and shares the references of another.
    let own = match git.is_dir() {
        true => git,
        false => git.parent()?.join(read(git.clone())?.strip_prefix("gitdir: ")?),
    };
    let shared = read(own.join("commondir")).map_or_else(|| own.clone(), |shared| own.join(shared));
    let head = read(own.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else { return Some(head) };
    read(own.join(reference)).or_else(|| read(shared.join(reference))).or_else(|| {
        let packed = read(shared.join("packed-refs"))?;
        let line = packed.lines().find(|line| line.ends_with(&format!(" {reference}")))?;
        line.split_once(' ').map(|(commit, _)| commit.to_owned())
    })
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
        let of = |path: &str| super::of(folder.path().join(path).to_str().unwrap());
        write("main/shop/compose.yaml", "");
        assert_eq!(of("main/shop"), None, "no repository");
        write("main/.git/HEAD", "ref: refs/heads/main\n");
        write("main/.git/packed-refs", "# pack-refs with: peeled\naaaa refs/heads/main\nbbbb refs/heads/other\n");
        assert_eq!(of("main/shop").as_deref(), Some("aaaa"));
        write("main/.git/refs/heads/main", "cccc\n");
        assert_eq!(of("main/shop").as_deref(), Some("cccc"));
        write("tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
        write("main/.git/worktrees/tree/commondir", "../..\n");
        write("main/.git/worktrees/tree/HEAD", "ref: refs/heads/other\n");
        assert_eq!(of("tree").as_deref(), Some("bbbb"));
        write("main/.git/worktrees/tree/HEAD", "dddd\n");
        assert_eq!(of("tree").as_deref(), Some("dddd"));
    }
}
