//! What is fed to whom. A target fails by a panic, by a time-out, by too much memory, or by an assertion of its own.

use std::collections::BTreeMap;

use carrack_compose::{Env, LoadOptions, Loaded};
use carrack_diag::{Diagnostic, SourceMap};
use carrack_oci::{Platform, Reference};

/// Every target by its name.
pub(crate) const ALL: &[(&str, fn(&[u8]))] = &[
    ("bake", |data| bake(data, carrack_bake::Format::Hcl)),
    ("bake-json", |data| bake(data, carrack_bake::Format::Json)),
    ("compose", compose),
    ("dns", carrack_runtime::fuzzing::dns),
    ("dockerfile", dockerfile),
    ("dotenv", dotenv),
    ("hpack", carrack_runtime::fuzzing::hpack),
    ("http", carrack_runtime::fuzzing::http),
    ("http2", carrack_runtime::fuzzing::http2),
    ("ignore", ignore),
    ("image", image),
    ("layer", carrack_store::fuzzing::layer),
    ("log", carrack_runtime::fuzzing::log),
    ("names", carrack_runtime::fuzzing::names),
    ("seccomp", seccomp),
    ("shim-protocol", carrack_runtime::fuzzing::protocol),
    ("tar", carrack_store::fuzzing::tar),
    ("worker", carrack_runtime::fuzzing::worker),
];

fn with_text(data: &[u8], act: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        act(text);
    }
}

/// Every message must be showable over its source.
fn show(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let _ = carrack_diag::text(diagnostic, sources, carrack_diag::Rendering::default());
        let _ = carrack_diag::json(diagnostic, sources);
    }
}

fn dockerfile(data: &[u8]) {
    with_text(data, |text| {
        let mut sources = SourceMap::new();
        let file = sources.add("Dockerfile", text);
        let (dockerfile, diagnostics) = carrack_dockerfile::parse(file, sources.get(file));
        show(&sources, &diagnostics);
        let options = carrack_llb::LowerOptions::new("linux/amd64".parse::<Platform>().unwrap());
        if let Err(diagnostics) = carrack_llb::lower(&dockerfile, &options) {
            show(&sources, &diagnostics);
        }
    });
}

fn ignore(data: &[u8]) {
    with_text(data, |text| {
        let (patterns, path) = text.split_once('\0').unwrap_or((text, "a/b.c"));
        let mut sources = SourceMap::new();
        let file = sources.add(".dockerignore", patterns);
        let (ignore, diagnostics) = carrack_dockerfile::IgnoreFile::parse(file, sources.get(file));
        show(&sources, &diagnostics);
        let _ = (ignore.is_ignored(path), ignore.has_exceptions_below(path));
    });
}

fn compose(data: &[u8]) {
    with_text(data, |text| {
        let mut sources = SourceMap::new();
        let file = sources.add("/p/compose.yaml", text);
        let mut options =
            LoadOptions { files: vec![file], project_directory: "/p".into(), ..LoadOptions::default() };
        // Whatever it asks for is the same text again, or not there.
        for _ in 0..3 {
            match carrack_compose::load(&sources, &Env::new(), &options) {
                Loaded::Needs(needs) => {
                    for (number, need) in needs.into_iter().enumerate() {
                        options.read.insert(need.path, (number % 2 == 0).then_some(file));
                    }
                }
                Loaded::Done { diagnostics, .. } => {
                    show(&sources, &diagnostics);
                    break;
                }
            }
        }
    });
}

fn dotenv(data: &[u8]) {
    with_text(data, |text| {
        let mut sources = SourceMap::new();
        let file = sources.add(".env", text);
        let known: BTreeMap<&str, &str> = BTreeMap::from([("A", "1"), ("B", "")]);
        let lookup = |name: &str| known.get(name).map(|value| (*value).to_owned());
        let results = [
            carrack_compose::dotenv::parse(file, text, &lookup, &lookup),
            carrack_compose::dotenv::parse_raw(file, text),
        ];
        for error in results.into_iter().filter_map(Result::err) {
            show(&sources, &[*error]);
        }
    });
}

fn bake(data: &[u8], format: carrack_bake::Format) {
    with_text(data, |text| {
        let mut sources = SourceMap::new();
        let file = sources.add("docker-bake", text);
        let environment = |name: &str| match name {
            carrack_bake::NOW => Some("2026-01-02T03:04:05Z".to_owned()),
            "TAG" => Some("v1".to_owned()),
            _ => None,
        };
        let resolved = carrack_bake::parse(file, sources.get(file), format).and_then(|parsed| {
            let mut bake = carrack_bake::Bake::default();
            bake.add(parsed);
            let _ = bake.variables(&environment);
            bake.targets(&environment)?;
            bake.resolve(&[], &[], &environment)
        });
        if let Err(error) = resolved {
            show(&sources, &[*error]);
        }
    });
}

fn image(data: &[u8]) {
    let _ = serde_json::from_slice::<carrack_oci::Manifest>(data);
    let _ = serde_json::from_slice::<carrack_oci::Index>(data);
    if let Ok(config) = serde_json::from_slice::<carrack_oci::ImageConfig>(data) {
        let again = serde_json::to_vec(&config).expect("what was read can be written");
        let read = serde_json::from_slice::<carrack_oci::ImageConfig>(&again);
        assert_eq!(read.ok().as_ref(), Some(&config), "nothing is lost");
        let _ = (config.platform(), carrack_oci::chain_ids(&config.rootfs.diff_ids));
    }
    with_text(data, |text| {
        if let Ok(reference) = text.parse::<Reference>() {
            assert_eq!(reference.to_string().parse::<Reference>().ok().as_ref(), Some(&reference), "{text:?}");
        }
    });
}

fn seccomp(data: &[u8]) {
    with_text(data, |text| {
        let facts = carrack_specgen::HostFacts {
            architecture: carrack_specgen::facts::Architecture::X86_64,
            kernel: (6, 12),
            cgroups: carrack_specgen::facts::Cgroups::V2,
            capabilities: u64::MAX,
            apparmor: false,
            apparmor_profile: false,
            hostname: String::new(),
        };
        let capabilities = carrack_specgen::capability::Set::default();
        if let Ok(profile) = carrack_specgen::seccomp::read_profile(text, capabilities, &facts) {
            let _ = carrack_specgen::seccomp::compile(&profile);
        }
    });
}
