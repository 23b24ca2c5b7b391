use std::fmt;
use std::str::FromStr;

use carrack_diag::Diagnostic;

use crate::codes;

/// An operating system and processor (image-spec `image-index.md`, `platform`), with Go's names for both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Platform {
    /// GOARCH: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// GOOS: `linux`.
    pub os: String,
    /// Of the processor: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Needed by Windows images only; kept as read.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Platform {
    /// The platform that this binary was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: None, os_version: None }
    }

    /// Whether a program for `self` is one for `wanted`, after the usual defaults of variants (arm64 is v8, arm is v7).
    pub fn matches(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.normal_variant() == wanted.normal_variant()
    }

    fn normal_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7"),
            (_, variant) => variant,
        }
    }
}

impl FromStr for Platform {
    type Err = Box<Diagnostic>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = || {
            Diagnostic::error(&codes::INVALID_PLATFORM, format!("`{text}` is not a platform"))
                .hint("write OS/ARCHITECTURE[/VARIANT], for example linux/amd64")
                .boxed()
        };
        let well_formed = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        if !parts.iter().all(well_formed) {
            return Err(wrong());
        }
        let host = Self::host();
        let (os, architecture, variant) = match parts.as_slice() {
            [os] if is_system(os) => (*os, host.architecture.as_str(), None),
            [architecture] if is_architecture(architecture) => ("linux", *architecture, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => return Err(wrong()),
        };
        let (architecture, variant) = match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => ("amd64".to_owned(), variant),
            "aarch64" => ("arm64".to_owned(), variant),
            "armhf" => ("arm".to_owned(), Some("v7".to_owned())),
            "armel" => ("arm".to_owned(), Some("v6".to_owned())),
            "i386" => ("386".to_owned(), variant),
            other => (other.to_owned(), variant),
        };
        Ok(Self { architecture, os: os.to_ascii_lowercase(), variant, os_version: None })
    }
}

/// Those of Go's list, and the names that others give them: a word alone must be one of them to say anything.
fn is_system(word: &str) -> bool {
    const KNOWN: [&str; 6] = ["darwin", "freebsd", "linux", "netbsd", "openbsd", "windows"];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

/// The same of architectures.
fn is_architecture(word: &str) -> bool {
    const KNOWN: [&str; 25] = [
        "386", "aarch64", "amd64", "arm", "arm64", "armbe", "armel", "armhf", "i386", "loong64", "mips", "mips64",
        "mips64le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc64", "wasm",
        "x86-64", "x86_64",
    ];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}
