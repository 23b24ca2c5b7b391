//! The files that know which packages are there, and what they say.
//!
//! Every reader here takes what a stranger wrote: it holds no more than a bounded part of it in memory, and what it can't
//! read is a reason in words.

mod alpine;
mod debian;
mod elf;
mod go;
mod node;
mod node_lock;
mod python;
mod rust;
mod system;

use std::io::{Read, Seek};

pub use system::OperatingSystem;

/// Largest file that is read, but for programs, in bytes. The largest package databases have a few million.
pub const TEXT_LIMIT: u64 = 16 << 20;
/// Longest name or version that is taken, in bytes.
const WORD_LIMIT: usize = 1024;
/// Most packages of one file.
const PACKAGES_LIMIT: usize = 100_000;

/// Who packages, and how a package is called in a purl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// dpkg.
    Deb,
    /// Alpine's apk.
    Apk,
    /// Python.
    Pypi,
    /// Node.
    Npm,
    /// Go modules.
    Golang,
    /// Rust crates.
    Cargo,
}

/// A package as its own database names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Package {
    /// Who packages it.
    pub ecosystem: Ecosystem,
    /// As written there, with scope or module path.
    pub name: String,
    /// Empty where nobody said: a Go program built from a working copy.
    pub version: String,
    /// Of distributions' packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The source package and its version where they are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Form {
    /// Whether it says what was to be installed, and not what is.
    pub(crate) fn is_declared(self) -> bool {
        matches!(self, Self::NodeLock | Self::YarnLock | Self::PnpmLock)
    }
}

impl Package {
    /// None for what no package is called.
    fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Option<Self> {
        let fits = |text: &str| text.len() <= WORD_LIMIT && !text.chars().any(char::is_control);
        let (name, version) = (name.trim(), version.trim());
        let package = Self { ecosystem, name: name.into(), version: version.into(), architecture: None, source: None };
        (!name.is_empty() && fits(name) && fits(version)).then_some(package)
    }
}

/// What a file is, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// dpkg's `status`: all packages.
    DpkgStatus,
    /// A file of `status.d`: one package, as in images made without dpkg.
    DpkgPart,
    /// apk's `installed`.
    ApkInstalled,
    /// `METADATA` or `PKG-INFO`.
    PythonMetadata,
    /// `package.json` of an installed package.
    NodePackage,
    /// `package-lock.json`: what was to be installed.
    NodeLock,
    /// The same of Yarn: `yarn.lock`.
    YarnLock,
    /// The same of pnpm: `pnpm-lock.yaml`.
    PnpmLock,
    /// `Cargo.lock`.
    CargoLock,
    /// os-release.
    OsRelease,
    /// A database that is not read: rpm's.
    Unsupported,
    /// Perhaps a program that says of itself what it is made of.
    Program,
}

/// What a path without a leading slash is, if anything.
pub(crate) fn form_of(path: &str, mode: u32) -> Option<Form> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = folder.rsplit('/').next().unwrap_or_default();
    let form = match name {
        "status" if folder == "var/lib/dpkg" => Form::DpkgStatus,
        _ if folder == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Form::DpkgPart,
        "installed" if matches!(folder, "lib/apk/db" | "usr/lib/apk/db") => Form::ApkInstalled,
        "METADATA" if parent.ends_with(".dist-info") => Form::PythonMetadata,
        "PKG-INFO" if parent.ends_with(".egg-info") || parent == "EGG-INFO" => Form::PythonMetadata,
        _ if name.ends_with(".egg-info") => Form::PythonMetadata,
        "package.json" if node::is_installed(folder) => Form::NodePackage,
        // In `node_modules` npm keeps a copy for itself.
        "package-lock.json" | "npm-shrinkwrap.json" if !path.contains("node_modules/") => Form::NodeLock,
        "yarn.lock" if !path.contains("node_modules/") => Form::YarnLock,
        "pnpm-lock.yaml" if !path.contains("node_modules/") => Form::PnpmLock,
        "Cargo.lock" => Form::CargoLock,
        "os-release" if matches!(folder, "etc" | "usr/lib") => Form::OsRelease,
        "rpmdb.sqlite" | "Packages.db" | "Packages"
            if matches!(folder, "var/lib/rpm" | "usr/lib/sysimage/rpm" | "usr/share/rpm") =>
        {
            Form::Unsupported
        }
        _ if mode & 0o111 != 0 => Form::Program,
        _ => return None,
    };
    Some(form)
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) packages: Vec<Package>,
    pub(crate) system: Option<OperatingSystem>,
}

/// Reads a file of a form. None where it says nothing, an error where it can't be understood.
pub(crate) fn read(form: Form, content: &mut (impl Read + Seek)) -> Result<Option<Said>, String> {
    let packages = match form {
        Form::Program => return elf::read(content).map(|packages| packages.map(said)),
        Form::Unsupported => return Err("RPM's database is not read: its packages are not listed".into()),
        Form::NodePackage => node::package(&bytes(content)?)?,
        Form::NodeLock => node::lock(&bytes(content)?)?,
        Form::YarnLock => node_lock::yarn(&text(content)?),
        Form::PnpmLock => node_lock::pnpm(&text(content)?),
        Form::OsRelease => {
            let system = OperatingSystem::parse(&text(content)?);
            return Ok(system.map(|system| Said { system: Some(system), ..Said::default() }));
        }
        Form::DpkgStatus | Form::DpkgPart => debian::status(&text(content)?, form == Form::DpkgStatus),
        Form::ApkInstalled => alpine::installed(&text(content)?),
        Form::PythonMetadata => python::metadata(&text(content)?).into_iter().collect(),
        Form::CargoLock => rust::lock(&text(content)?),
    };
    if packages.len() > PACKAGES_LIMIT {
        return Err(format!("it names more than {PACKAGES_LIMIT} packages"));
    }
    Ok((!packages.is_empty()).then(|| said(packages)))
}

fn said(packages: Vec<Package>) -> Said {
    Said { packages, system: None }
}

fn bytes(content: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    content.take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > TEXT_LIMIT { Err(format!("it is larger than {TEXT_LIMIT} bytes")) } else { Ok(bytes) }
}

/// What is no UTF-8 in it is replaced: authors' names in other encodings are common.
fn text(content: &mut impl Read) -> Result<String, String> {
    let bytes = bytes(content)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The value of a line `Key: value` (RFC 822); keys in any case.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    found.eq_ignore_ascii_case(key).then(|| value.trim())
}
