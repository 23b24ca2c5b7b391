use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn request(name: &str) -> BootstrapRequest {
    BootstrapRequest {
        name: name.to_owned(),
        suite: "bookworm".to_owned(),
        variant: "minbase".to_owned(),
        include: vec![],
        mirror: Some("http://mirror.example/debian".to_owned()),
        force_name: false,
    }
}

/// Programs that stand in for mmdebstrap and apt-helper: this test has no network.
fn tools(folder: &Path, mmdebstrap: &str, apt_helper: &str) -> std::io::Result<Tools> {
    let script = |name: &str, body: &str| -> std::io::Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(path)
    };
    Ok(Tools {
        mmdebstrap: script("mmdebstrap", mmdebstrap)?,
        apt_helper: script("apt-helper", apt_helper)?,
        apt_folder: folder.to_owned(),
    })
}

const RELEASE: &str = r#"printf 'Origin: Debian\nDate: Sat, 12 Jul 2025 09:07:42 UTC\n' >"$3""#;

#[test]
fn official_names_are_refused_unless_forced() {
    for name in
        ["debian", "debian:bookworm", "library/base", "docker.io/me/base", "ubuntu:24.04", "docker.io/library/debian"]
    {
        let refused = check(&request(name)).expect_err(name);
        assert_eq!(refused.code.id, "bootstrap/official-name", "{name}");
        check(&BootstrapRequest { force_name: true, ..request(name) }).expect(name);
    }
    for name in ["base", "shop-base:bookworm", "local/debian:bookworm", "registry.example:5000/debian"] {
        check(&request(name)).expect(name);
    }
}

#[test]
fn what_could_be_an_option_is_refused() {
    let broken = [
        BootstrapRequest { suite: "--help".into(), ..request("base") },
        BootstrapRequest { suite: String::new(), ..request("base") },
        BootstrapRequest { variant: "everything".into(), ..request("base") },
        BootstrapRequest { include: vec!["a".into(), "b c".into()], ..request("base") },
        BootstrapRequest { mirror: Some("[trusted=yes] http://x".into()), ..request("base") },
    ];
    for request in broken {
        assert_eq!(check(&request).expect_err("refused").code.id, "bootstrap/invalid-request", "{request:?}");
    }
}

#[test]
fn the_tar_arrives_with_the_time_of_the_archive() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    // More on both pipes than either holds.
    let tools = tools(
        folder.path(),
        r#"head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; echo "$SOURCE_DATE_EPOCH""#,
        RELEASE,
    )?;
    let mut tar = Vec::new();
    let outcome = make(&request("base"), &tools, &mut tar).expect("made");
    assert_eq!(outcome.created, "2025-07-12T09:07:42Z");
    assert_eq!(&tar[300_000..], b"1752311262\n");
    assert_eq!(outcome.config.labels["dev.carrack.bootstrap"], "suite=bookworm variant=minbase");
    assert_eq!(outcome.config.labels["dev.carrack.bootstrap.sources"], "http://mirror.example/debian bookworm");
    Ok(())
}

#[test]
fn a_failure_shows_what_mmdebstrap_said_last() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let tools = tools(folder.path(), "seq 100 >&2; echo 'E: Unable to locate package nosuch' >&2; exit 25", RELEASE)?;
    let failed = make(&request("base"), &tools, &mut Vec::new()).expect_err("failed");
    assert_eq!(failed.code.id, "bootstrap/failed");
    assert_eq!(failed.message, "can't make base from Debian bookworm: mmdebstrap ended with exit status: 25");
    assert_eq!(failed.causes.len(), LAST_LINES);
    assert_eq!(failed.causes.last().map(String::as_str), Some("E: Unable to locate package nosuch"));
    Ok(())
}

#[test]
fn an_archive_that_does_not_answer_is_named() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let tools = tools(folder.path(), "exit 1", "echo \"E: Could not resolve 'mirror.example'\" >&2; exit 100")?;
    let failed = make(&request("base"), &tools, &mut Vec::new()).expect_err("failed");
    assert_eq!(failed.code.id, "bootstrap/no-archive");
    assert_eq!(failed.message, "can't read http://mirror.example/debian/dists/bookworm/InRelease");
    assert_eq!(failed.causes, ["E: Could not resolve 'mirror.example'"]);
    Ok(())
}

#[test]
fn a_missing_mmdebstrap_comes_with_the_line_that_installs_it() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let tools = Tools { mmdebstrap: folder.path().join("absent"), ..tools(folder.path(), "", RELEASE)? };
    let failed = make(&request("base"), &tools, &mut Vec::new()).expect_err("failed");
    assert_eq!(failed.code.id, "bootstrap/no-mmdebstrap");
    assert_eq!(failed.hints, ["install it: apt-get install -y mmdebstrap"]);
    Ok(())
}

/// A sink such as a file on a disk that is full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_said_and_the_child_reaped() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    let tools = tools(folder.path(), "head -c 300000 /dev/zero", RELEASE)?;
    let failed = make(&request("base"), &tools, &mut Full).expect_err("failed");
    assert_eq!(failed.code.id, "engine/host");
    assert_eq!(failed.causes, ["no storage space"]);
    Ok(())
}

#[test]
fn dates_of_release_files() {
    assert_eq!(parse_date("Sat, 12 Jul 2025 09:07:42 UTC"), Some(1_752_311_262));
    for text in ["", "yesterday", "Sat, 32 Jul 2025 09:07:42 UTC"] {
        assert_eq!(parse_date(text), None, "{text}");
    }
}
