use std::io::Cursor;

use carrack_oci::{Descriptor, Digest, media_type};
use proptest::prelude::*;
use serde_json::json;

use crate::packages::{Form, form_of, read};
use crate::*;

const STATUS: &str = "Package: libc6\nStatus: install ok installed\nPriority: optional\nArchitecture: amd64\nSource: glibc\n\
                      Version: 2.36-9+deb12u7\nDescription: GNU C Library\n Package: not-a-field\n .\n\n\
                      Package: perl-base\nStatus: install ok half-configured\nArchitecture: amd64\nSource: perl (5.36.0-7)\n\
                      Version: 5.36.0-7+b1\n\nPackage: vim\nStatus: deinstall ok config-files\nVersion: 2:9.0\n\n\
                      Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2024a-0";
const APK: &str = "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\n\n\
                   P:libcrypto3\nV:3.1.4-r5\nA:x86_64\no:openssl\n\n";
const LOCK: &str = r#"{"name":"shop","lockfileVersion":3,"packages":{
    "":{"name":"shop","version":"1.0.0","dependencies":{"ms":"^2"}},
    "node_modules/ms":{"version":"2.1.3"},
    "node_modules/@scope/part":{"version":"1.0.0","dependencies":{"ms":"^1"}},
    "node_modules/@scope/part/node_modules/ms":{"version":"1.0.0"},
    "node_modules/alias":{"name":"real","version":"4.0.0"},
    "node_modules/jest":{"version":"29.0.0","dev":true},
    "node_modules/own":{"resolved":"packages/own","link":true}}}"#;
const OLD_LOCK: &str = r#"{"lockfileVersion":1,"dependencies":{
    "ms":{"version":"2.1.3"},"a":{"version":"1.0.0","requires":{"ms":"^1"},"dependencies":{"ms":{"version":"1.0.0"}}},
    "jest":{"version":"29.0.0","dev":true}}}"#;
const CARGO_LOCK: &str = "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.200\"\nsource = \"registry+x\"\n\
                          dependencies = [\n \"name\",\n]\n\n[[package]]\nname = \"shop\"\nversion = \"0.1.0\"\n\n[metadata]\n";

fn names(form: Form, content: &[u8]) -> Vec<String> {
    let said = read(form, &mut Cursor::new(content)).unwrap();
    let packages = said.map(|said| said.packages).unwrap_or_default();
    packages.iter().map(|package| format!("{}@{}", package.name, package.version)).collect()
}

/// A program with sections, as a linker lays it out.
fn elf(sections: &[(&str, &[u8])], is_64: bool) -> Vec<u8> {
    let word = |value: usize| match is_64 {
        true => (value as u64).to_le_bytes().to_vec(),
        false => (value as u32).to_le_bytes().to_vec(),
    };
    let head = if is_64 { 64 } else { 52 };
    let (mut content, mut names, mut headers) = (Vec::new(), vec![0], Vec::new());
    let mut all = sections.to_vec();
    all.push((".shstrtab", b""));
    let table_of_names: Vec<u8> =
        all.iter().fold(vec![0], |table, (name, _)| [table, name.as_bytes().to_vec(), vec![0]].concat());
    for (name, bytes) in all {
        let bytes = if name == ".shstrtab" { &table_of_names } else { bytes };
        let header = [
            (names.len() as u32).to_le_bytes().to_vec(),
            1_u32.to_le_bytes().to_vec(),
            word(0),
            word(0),
            word(head + content.len()),
            word(bytes.len()),
            vec![0; if is_64 { 24 } else { 16 }],
        ];
        headers.push(header.concat());
        names.extend([name.as_bytes(), &[0]].concat());
        content.extend(bytes);
    }
    let (count, size) = (headers.len() as u16, headers[0].len() as u16);
    let mut file = b"\x7fELF".to_vec();
    file.extend([if is_64 { 2 } else { 1 }, 1, 1]);
    file.resize(if is_64 { 40 } else { 32 }, 0);
    file.extend(word(head + content.len()));
    file.resize(if is_64 { 58 } else { 46 }, 0);
    file.extend([size, count, count - 1].iter().flat_map(|number| number.to_le_bytes()));
    assert_eq!(file.len(), head);
    [file, content, headers.concat()].concat()
}

fn go_section() -> Vec<u8> {
    let modules = "path\texample.org/shop\nmod\texample.org/shop\t(devel)\t\ndep\tgithub.com/x/y\tv1.2.3\th1:=\n\
                   dep\tgithub.com/old/z\tv0.1.0\n=>\tgithub.com/new/z\tv0.2.0\th1:=\ndep\tlocal.org/w\tv0.0.0\n=>\t./w\t\n\
                   build\tCGO_ENABLED=0\n";
    let framed = [&[b'<'; 16], modules.as_bytes(), &[b'>'; 16]].concat();
    let varint = |length: usize| match length {
        0..0x80 => vec![length as u8],
        _ => vec![length as u8 & 0x7f | 0x80, (length >> 7) as u8],
    };
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    [section, varint(8), b"go1.22.1".to_vec(), varint(framed.len()), framed].concat()
}

fn audit_section() -> Vec<u8> {
    let list = json!({"packages": [
        {"name": "shop", "version": "0.1.0", "source": "local", "root": true, "dependencies": [1]},
        {"name": "serde", "version": "1.0.200", "source": "crates.io", "kind": "runtime"},
        {"name": "cc", "version": "1.0.0", "source": "crates.io", "kind": "build"},
    ]});
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, list.to_string().as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn each_database_is_read_as_its_own_tools_read_it() {
    let debian = ["libc6@2.36-9+deb12u7", "perl-base@5.36.0-7+b1", "tzdata@1:2024a-0"];
    assert_eq!(names(Form::DpkgStatus, STATUS.as_bytes()), debian);
    assert_eq!(names(Form::DpkgPart, b"Package: base-files\nVersion: 12.4\n"), ["base-files@12.4"]);
    assert_eq!(names(Form::ApkInstalled, APK.as_bytes()), ["musl@1.2.4-r2", "libcrypto3@3.1.4-r5"]);
    let metadata = b"Metadata-Version: 2.1\r\nName: Flask_Login\nVersion: 0.6.3\n\nName: text\n";
    assert_eq!(names(Form::PythonMetadata, metadata), ["Flask_Login@0.6.3"]);
    assert_eq!(names(Form::NodePackage, br#"{"name":"@a/b","version":"1.0.0","main":[1]}"#), ["@a/b@1.0.0"]);
    let locked = ["ms@2.1.3", "@scope/part@1.0.0", "ms@1.0.0", "real@4.0.0"];
    assert_eq!(names(Form::NodeLock, LOCK.as_bytes()), locked);
    assert_eq!(names(Form::NodeLock, OLD_LOCK.as_bytes()), ["ms@2.1.3", "a@1.0.0", "ms@1.0.0"]);
    assert_eq!(names(Form::CargoLock, CARGO_LOCK.as_bytes()), ["serde@1.0.200", "shop@0.1.0"]);
    let go = [
        "stdlib@1.22.1",
        "example.org/shop@",
        "github.com/x/y@v1.2.3",
        "github.com/new/z@v0.2.0",
        "local.org/w@v0.0.0",
    ];
    for is_64 in [true, false] {
        let program = elf(&[(".text", b"code"), (".go.buildinfo", &go_section())], is_64);
        assert_eq!(names(Form::Program, &program), go);
        let program = elf(&[(".dep-v0", &audit_section()), (".text", b"code")], is_64);
        assert_eq!(names(Form::Program, &program), ["shop@0.1.0", "serde@1.0.200"]);
        assert_eq!(names(Form::Program, &elf(&[(".text", b"code")], is_64)), [""; 0]);
    }
    assert_eq!(names(Form::Program, b"#!/bin/sh\n"), [""; 0]);
}

#[test]
fn a_path_tells_what_a_file_is() {
    let forms = [
        ("var/lib/dpkg/status", Some(Form::DpkgStatus)),
        ("var/lib/dpkg/status-old", None),
        ("var/lib/dpkg/status.d/base", Some(Form::DpkgPart)),
        ("var/lib/dpkg/status.d/base.md5sums", None),
        ("lib/apk/db/installed", Some(Form::ApkInstalled)),
        ("usr/lib/apk/db/installed", Some(Form::ApkInstalled)),
        ("venv/lib/python3/site-packages/a-1.dist-info/METADATA", Some(Form::PythonMetadata)),
        ("usr/lib/python3/dist-packages/a-1.egg-info", Some(Form::PythonMetadata)),
        ("usr/lib/python3/dist-packages/a.egg-info/PKG-INFO", Some(Form::PythonMetadata)),
        ("app/METADATA", None),
        ("app/node_modules/a/package.json", Some(Form::NodePackage)),
        ("app/node_modules/@s/a/package.json", Some(Form::NodePackage)),
        ("app/node_modules/a/node_modules/b/package.json", Some(Form::NodePackage)),
        ("app/node_modules/a/dist/package.json", None),
        ("app/node_modules/@s/package.json", None),
        ("app/my_node_modules/a/package.json", None),
        ("app/package.json", None),
        ("app/package-lock.json", Some(Form::NodeLock)),
        ("app/node_modules/a/package-lock.json", None),
        ("src/Cargo.lock", Some(Form::CargoLock)),
        ("etc/os-release", Some(Form::OsRelease)),
        ("var/lib/rpm/rpmdb.sqlite", Some(Form::Unsupported)),
    ];
    for (path, form) in forms {
        assert_eq!(form_of(path, 0o644), form, "{path}");
    }
    assert_eq!(form_of("usr/bin/any", 0o755), Some(Form::Program));
}

/// A path with its content, or what else happens to it.
type Told<'a> = (&'a str, Result<&'a [u8], Kind<'a>>);

fn inventory(layers: &[&[Told<'_>]]) -> Bill {
    let mut inventory = Inventory::new();
    for (number, members) in layers.iter().enumerate() {
        inventory.layer(Digest::of(number.to_string()), &format!("RUN {number}"));
        for (path, what) in *members {
            match what {
                Err(kind) => assert_eq!(inventory.member(path, *kind), None),
                Ok(content) => {
                    if let Some(form) = inventory.member(path, Kind::File(0o755)) {
                        inventory.read(path, form, &mut Cursor::new(content));
                    }
                }
            }
        }
    }
    inventory.finish()
}

fn brought(bill: &Bill) -> Vec<String> {
    let line = |listed: &Listed| {
        let package = &listed.package;
        format!("{}@{} {}", package.name, package.version, listed.origin.instruction.trim_start_matches("RUN "))
    };
    bill.packages.iter().map(line).collect()
}

const fn status(text: &'static str) -> Told<'static> {
    ("var/lib/dpkg/status", Ok(text.as_bytes()))
}

#[test]
fn a_package_is_of_the_layer_that_brought_this_version() {
    let a = "Package: a\nStatus: install ok installed\nVersion: 1\n";
    let two = "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: install ok installed\nVersion: 1\n";
    let newer = "Package: a\nStatus: install ok installed\nVersion: 2\n\nPackage: b\nStatus: install ok installed\nVersion: 1\n";
    assert_eq!(brought(&inventory(&[&[status(a)], &[status(two)]])), ["a@1 0", "b@1 1"]);
    assert_eq!(brought(&inventory(&[&[status(a)], &[status(two)], &[status(newer)]])), ["a@2 2", "b@1 1"]);
    // Removed, and installed again.
    assert_eq!(brought(&inventory(&[&[status(two)], &[status(a)], &[status(two)]])), ["a@1 0", "b@1 2"]);
}

#[test]
fn what_later_layers_take_away_is_not_there() {
    let one: Told<'_> = ("app/node_modules/a/package.json", Ok(br#"{"name":"a","version":"1"}"#));
    let two: Told<'_> = ("app/node_modules/b/package.json", Ok(br#"{"name":"b","version":"1"}"#));
    let gone = |path, kind| brought(&inventory(&[&[one, two], &[(path, Err(kind))]]));
    assert_eq!(gone("app/node_modules/a", Kind::Gone), ["b@1 0"]);
    assert_eq!(gone("app", Kind::Gone), [""; 0]);
    assert_eq!(gone("app/node_modules", Kind::Emptied), [""; 0]);
    assert_eq!(gone("app/node_modules/a/package.json", Kind::Other), ["b@1 0"]);
    assert_eq!(gone("app/node_modules/a", Kind::Other), ["b@1 0"], "a link in place of the folder");
    assert_eq!(gone("app/node_modules", Kind::Folder), ["a@1 0", "b@1 0"]);
    assert_eq!(gone("app/node_mod", Kind::Gone), ["a@1 0", "b@1 0"], "a name is not its beginning");
    // Markers speak of lower layers, wherever they stand.
    let layer = [one, ("app/node_modules", Err(Kind::Emptied)), ("app/node_modules/a", Err(Kind::Gone))];
    assert_eq!(brought(&inventory(&[&[two], &layer])), ["a@1 1"]);
    // A file that says nothing any more.
    let bin = elf(&[(".dep-v0", &audit_section())], true);
    let text: &[u8] = b"#!/bin/sh";
    assert_eq!(brought(&inventory(&[&[("bin/a", Ok(&bin))], &[("bin/a", Ok(text))]])), [""; 0]);
    // Another name of it stays.
    let linked = [("bin/a", Ok(bin.as_slice())), ("bin/b", Err(Kind::HardLink("bin/a")))];
    assert_eq!(brought(&inventory(&[&linked, &[("bin/a", Err(Kind::Gone))]])).len(), 2);
}

#[test]
fn a_lock_file_counts_where_nothing_is_installed() {
    let lock: Told<'_> = ("app/package-lock.json", Ok(LOCK.as_bytes()));
    let installed: Told<'_> = ("app/node_modules/ms/package.json", Ok(br#"{"name":"ms","version":"2.1.3"}"#));
    assert_eq!(inventory(&[&[lock]]).packages.len(), 4);
    assert_eq!(brought(&inventory(&[&[lock], &[installed]])), ["ms@2.1.3 1"]);
}

fn bill() -> Bill {
    let system: Told<'_> =
        ("usr/lib/os-release", Ok(b"PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=\"12\"\n"));
    let npm: Told<'_> = ("a/node_modules/@s/b/package.json", Ok(br#"{"name":"@s/b","version":"1.0.0"}"#));
    inventory(&[&[system, status(STATUS)], &[npm, ("var/lib/rpm/Packages", Ok(b""))]])
}

#[test]
fn packages_have_the_urls_that_scanners_know() {
    let purls: Vec<String> = bill().packages.into_iter().map(|listed| listed.purl).collect();
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u7?arch=amd64&distro=debian-12&upstream=glibc",
            "pkg:deb/debian/perl-base@5.36.0-7%2Bb1?arch=amd64&distro=debian-12&upstream=perl%405.36.0-7",
            "pkg:deb/debian/tzdata@1:2024a-0?arch=all&distro=debian-12",
            "pkg:npm/%40s/b@1.0.0",
        ]
    );
}

#[test]
fn both_documents_say_what_brought_a_package_and_what_was_not_read() {
    let subject = Subject { name: "shop".into(), id: Digest::of("shop"), created: "2024-01-01T00:00:00Z".into() };
    let document = spdx(&bill(), &subject);
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(
        document["comment"],
        "not read:\nvar/lib/rpm/Packages: RPM's database is not read: its packages are not listed"
    );
    let npm = document["packages"].as_array().unwrap().last().unwrap();
    assert_eq!(npm["comment"], format!("layerID: {}\ninstruction: RUN 1", Digest::of("1")));
    assert_eq!(npm["externalRefs"][0]["referenceLocator"], "pkg:npm/%40s/b@1.0.0");
    let ids: Vec<&str> =
        document["packages"].as_array().unwrap().iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    let related = document["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|relation| relation["relatedSpdxElement"].as_str().unwrap());
    assert_eq!(related.collect::<Vec<_>>(), ids, "each is named once");
    let document = cyclonedx(&bill(), &subject);
    assert_eq!((document["bomFormat"].as_str(), document["specVersion"].as_str()), (Some("CycloneDX"), Some("1.6")));
    let npm = document["components"].as_array().unwrap().last().unwrap();
    assert_eq!(npm["properties"][1], json!({ "name": "carrack:instruction", "value": "RUN 1" }));
    let serial = document["serialNumber"].as_str().unwrap();
    assert_eq!((serial.len(), &serial[22..24]), (45, "-8"));
}

#[test]
fn an_attestation_refers_to_its_image_and_is_the_same_again() {
    let subject = Descriptor::new(media_type::MANIFEST, Digest::of("manifest"), 8);
    let make = || attestation(SBOM, br#"{ "a":1}"#, &subject, &["shop".into()]).unwrap();
    let made = make();
    assert_eq!(made, make());
    assert_eq!(made.subject, subject);
    assert_eq!(made.artifact_type, "application/vnd.in-toto+json");
    let said: serde_json::Value = serde_json::from_slice(&made.blobs[0].bytes).unwrap();
    assert_eq!(
        said,
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "shop", "digest": { "sha256": subject.digest.hex() } }],
            "predicateType": "https://spdx.dev/Document",
            "predicate": { "a": 1 },
        })
    );
    assert!(attestation(SBOM, b"no JSON", &subject, &[]).is_err());
}

#[test]
fn of_a_build_the_least_tells_no_arguments_and_no_ids() {
    let mut provenance = Provenance {
        arguments: [("build-arg:A", "1"), ("label:b", "2"), ("target", "web")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        secrets: vec!["token".into()],
        source: "FROM scratch".into(),
        locals: vec!["context".into()],
        materials: vec![Material { uri: "pkg:docker/debian@12".into(), digest: ("sha256".into(), "00".into()) }],
        ..Provenance::default()
    };
    let least = provenance.predicate();
    let request = &least["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "target": "web" }));
    assert!(request.get("secrets").is_none() && !least.to_string().contains("FROM"));
    assert_eq!(least["buildDefinition"]["resolvedDependencies"][0]["digest"], json!({ "sha256": "00" }));
    provenance.mode = Mode::Max;
    let most = provenance.predicate();
    let request = &most["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "build-arg:A": "1", "label:b": "2", "target": "web" }));
    assert_eq!(request["secrets"], json!([{ "id": "token" }]));
    assert_eq!(most["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0]["data"], "RlJPTSBzY3JhdGNo");
}

#[test]
fn what_is_too_large_is_said_and_not_held() {
    let reason = |form, content: &[u8]| read(form, &mut Cursor::new(content)).unwrap_err();
    let large = vec![b'a'; (16 << 20) + 1];
    assert!(reason(Form::DpkgStatus, &large).contains("larger than"));
    let paragraphs = "Package: a\nStatus: install ok installed\nVersion: 1\n\n".repeat(100_001);
    assert!(reason(Form::DpkgStatus, paragraphs.as_bytes()).contains("more than"));
    let entries: Vec<String> = (0..100_002).map(|number| format!(r#""{number}":{{}}"#)).collect();
    assert!(
        reason(Form::NodeLock, format!(r#"{{"packages":{{{}}}}}"#, entries.join(",")).as_bytes()).contains("more than")
    );
    let deep = format!("{}{}", r#"{"dependencies":{"a":"#.repeat(10_000), "1");
    assert!(reason(Form::NodeLock, deep.as_bytes()).contains("recursion limit"));
    // A bomb: 16 MB of zeros in a few thousand bytes.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &vec![b' '; 16 << 20]).unwrap();
    let program = elf(&[(".dep-v0", &packed.finish().unwrap())], true);
    assert!(reason(Form::Program, &program).contains("larger than"));
    let many = "Package: a\nStatus: install ok installed\nVersion: 1\n\n".repeat(50_001);
    let bill = inventory(&[&[("var/lib/dpkg/status", Ok(many.as_bytes()))]]);
    assert_eq!((bill.packages.len(), bill.unread.len()), (0, 1));
    let mut inventory = Inventory::new();
    (0..1000).for_each(|number| inventory.unread(&number.to_string(), "damaged"));
    assert_eq!(inventory.finish().unread.len(), 101, "the last says that there are more");
}

fn fixtures() -> Vec<(Form, Vec<u8>)> {
    vec![
        (Form::DpkgStatus, STATUS.into()),
        (Form::DpkgPart, STATUS.into()),
        (Form::ApkInstalled, APK.into()),
        (Form::PythonMetadata, b"Name: a\nVersion: 1\n\n".to_vec()),
        (Form::NodePackage, br#"{"name":"@a/b","version":"1.0.0"}"#.to_vec()),
        (Form::NodeLock, LOCK.into()),
        (Form::NodeLock, OLD_LOCK.into()),
        (Form::CargoLock, CARGO_LOCK.into()),
        (Form::OsRelease, b"ID=debian\nVERSION_ID='12'\n".to_vec()),
        (Form::Program, elf(&[(".go.buildinfo", &go_section())], true)),
        (Form::Program, elf(&[(".dep-v0", &audit_section())], false)),
        (Form::Program, go_section()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Bytes flipped, cut out, repeated: an answer or a reason, and no package with a name that could do harm.
    #[test]
    fn no_mutation_of_any_database_breaks_its_reader(
        which in 0..12_usize,
        edits in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (form, mut content) = fixtures()[which].clone();
        for (kind, at, to, byte) in edits {
            if content.is_empty() {
                break;
            }
            let (at, to) = (at.index(content.len()), to.index(content.len()));
            match kind {
                0 => content[at] = byte,
                1 => content.truncate(at),
                2 => drop(content.drain(at.min(to)..at.max(to))),
                _ => {
                    let part = content[at.min(to)..at.max(to)].to_vec();
                    content.splice(at..at, part);
                }
            }
        }
        if let Ok(Some(said)) = read(form, &mut Cursor::new(content)) {
            for package in said.packages {
                prop_assert!(!package.name.is_empty() && !package.name.contains(['\n', '\0']));
                prop_assert!(package.name.len() <= 1024 && package.version.len() <= 1024);
            }
        }
    }
}

#[test]
fn a_statement_is_believed_of_its_subject_only() {
    let (image, other) = (Digest::of("image"), Digest::of("other"));
    let predicate = br#"{"b":1.50,"a":[{}]}"#;
    let bytes = statement(SBOM, predicate, &image, &["x".to_owned()]).unwrap();
    assert_eq!(predicate_of(&bytes, &image), Some((SBOM.to_owned(), predicate.to_vec())));
    assert_eq!(predicate_of(&bytes, &other), None);
    for strange in
        ["", "{}", "[]", r#"{"subject":[],"predicateType":"x","predicate":1}"#, r#"{"subject":[{"digest":{}}]}"#]
    {
        assert_eq!(predicate_of(strange.as_bytes(), &image), None, "{strange}");
    }
}
