//! D4: what is a miss and what is none, as in BuildKit.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::{Duration, SystemTime};

use super::*;

const TEXT: &str = "FROM scratch\nCOPY src /src\nRUN write /made 1\n";

fn yard() -> Yard {
    let yard = Yard::new();
    yard.write("src/a", "1").write("src/deep/b", "2").write("beside", "3").write("src/ignored", "4");
    yard.write(".dockerignore", "src/ignored\n");
    yard
}

/// How many of the two steps are cached after a change.
fn cached(change: impl FnOnce(&Yard)) -> usize {
    let yard = yard();
    assert_eq!(yard.build(TEXT).cached_steps, 0);
    change(&yard);
    yard.build(TEXT).cached_steps
}

#[test]
fn what_does_not_change_what_is_copied_is_no_miss() {
    if !is_able() {
        return;
    }
    let touch = |yard: &Yard, path: &str| {
        let file = std::fs::File::open(yard.context().join(path)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    };
    assert_eq!(cached(|yard| touch(yard, "src/a")), 2, "a file's time");
    assert_eq!(cached(|yard| touch(yard, "src/deep")), 2, "a folder's time");
    assert_eq!(cached(|yard| chown(yard.context().join("src/a"), Some(7), Some(7)).unwrap()), 2, "an owner");
    assert_eq!(
        cached(|yard| {
            yard.write("beside", "changed");
        }),
        2,
        "a file that nothing copies"
    );
    assert_eq!(
        cached(|yard| {
            yard.write("src/ignored", "changed");
        }),
        2,
        "a file that is ignored"
    );
    assert_eq!(
        cached(|yard| {
            yard.write(".dockerignore", "# more\nsrc/ignored\nno-such\n");
        }),
        2,
        "an ignore file"
    );
    let anew = |yard: &Yard| {
        std::fs::remove_dir_all(yard.context().join("src")).unwrap();
        yard.write("src/deep/b", "2").write("src/a", "1");
    };
    assert_eq!(cached(anew), 2, "the same files made anew, in another order");
}

#[test]
fn what_changes_what_is_copied_is_one() {
    if !is_able() {
        return;
    }
    let path = |yard: &Yard, name: &str| yard.context().join(name);
    assert_eq!(
        cached(|yard| {
            yard.write("src/a", "9");
        }),
        0,
        "content"
    );
    let mode = std::fs::Permissions::from_mode(0o600);
    assert_eq!(cached(|yard| std::fs::set_permissions(path(yard, "src/a"), mode).unwrap()), 0, "mode");
    assert_eq!(cached(|yard| std::fs::rename(path(yard, "src/a"), path(yard, "src/z")).unwrap()), 0, "name");
    assert_eq!(
        cached(|yard| {
            yard.write("src/new", "");
        }),
        0,
        "a file more"
    );
    assert_eq!(cached(|yard| std::fs::create_dir(path(yard, "src/empty")).unwrap()), 0, "a folder more");
    assert_eq!(cached(|yard| std::fs::remove_file(path(yard, "src/deep/b")).unwrap()), 0, "a file less");
    assert_eq!(
        cached(|yard| {
            yard.write(".dockerignore", "nothing\n");
        }),
        0,
        "what was ignored"
    );
    let link = |yard: &Yard| {
        std::fs::remove_file(path(yard, "src/a")).unwrap();
        symlink("deep/b", path(yard, "src/a")).unwrap();
    };
    assert_eq!(cached(link), 0, "a link in its place");
}

/// Another way to the same files is the same from there on.
#[test]
fn the_same_content_by_another_definition_is_a_hit() {
    if !is_able() {
        return;
    }
    let yard = yard();
    yard.build("FROM scratch\nCOPY src/a /a\nRUN write /made 1\n");
    for other in [
        "FROM scratch\nADD src/a /a\nRUN write /made 1\n",
        "FROM scratch\nCOPY ./src/../src/a /a\nRUN write /made 1\n",
        "FROM scratch\nCOPY --chown=0:0 src/a /a\nRUN --network=default write /made 1\n",
    ] {
        yard.programs();
        let built = yard.build(other);
        assert_eq!(yard.programs(), Vec::<String>::new(), "{other}: {} cached", built.cached_steps);
    }
    // The same file by another name in the context.
    yard.write("other/a", "1");
    let file = std::fs::File::open(yard.context().join("other/a")).unwrap();
    file.set_modified(std::fs::metadata(yard.context().join("src/a")).unwrap().modified().unwrap()).unwrap();
    yard.build("FROM scratch\nCOPY other/a /a\nRUN write /made 1\n");
    assert_eq!(yard.programs(), Vec::<String>::new());
}

#[test]
fn only_needed_stages_run() {
    if !is_able() {
        return;
    }
    let yard = yard();
    let text = "FROM scratch AS base\nRUN write /base 1\nFROM scratch AS unused\nCOPY --from=base /base /\nRUN write /unused 1\n\
        FROM base AS test\nRUN write /test 1\nFROM base\nRUN write /end 1\n";
    yard.build(text);
    assert_eq!(yard.programs(), ["write /base 1", "write /end 1"]);
    let target = BuildRequest { target: Some("test".into()), ..yard.request(text) };
    yard.run(&target).unwrap();
    assert_eq!(yard.programs(), ["write /test 1"]);
    // A step that is the same in two stages is done once, and so it is without the cache.
    let twice = "FROM scratch AS a\nRUN write /same 1\nFROM scratch AS b\nRUN write /same 1\nFROM scratch\n\
        COPY --from=a /same /a\nCOPY --from=b /same /b\n";
    yard.build(twice);
    assert_eq!(yard.programs(), ["write /same 1"]);
    yard.run(&BuildRequest { no_cache: true, ..yard.request(twice) }).unwrap();
    assert_eq!(yard.programs(), ["write /same 1"]);
    // Builds of one command share that; those of another one do not.
    let together = crate::Together::default();
    for expected in [1, 0] {
        let request = BuildRequest { no_cache: true, together: together.clone(), ..yard.request(twice) };
        yard.run(&request).unwrap();
        assert_eq!(yard.programs().len(), expected);
    }
}
