use crate::packages::{Ecosystem, OperatingSystem, Package};

/// A package's URL (purl-spec, PURL-SPECIFICATION and PURL-TYPES).
pub(crate) fn purl(package: &Package, system: Option<&OperatingSystem>) -> String {
    let id = |otherwise| system.map_or(otherwise, |system| system.id.as_str());
    let (kind, name) = match package.ecosystem {
        Ecosystem::Deb => (format!("deb/{}", escape(id("debian"), "")), escape(&package.name, "")),
        Ecosystem::Apk => (format!("apk/{}", escape(id("alpine"), "")), escape(&package.name, "")),
        Ecosystem::Pypi => ("pypi".into(), escape(&package.name.to_lowercase().replace('_', "-"), "")),
        Ecosystem::Npm => ("npm".into(), escape(&package.name, "/")),
        Ecosystem::Golang => ("golang".into(), escape(&package.name, "/")),
        Ecosystem::Cargo => ("cargo".into(), escape(&package.name, "")),
    };
    let version = match package.version.as_str() {
        "" => String::new(),
        version => format!("@{}", escape(version, ":")),
    };
    let mut qualifiers = Vec::new();
    if let Some(architecture) = &package.architecture {
        qualifiers.push(format!("arch={}", escape(architecture, "")));
    }
    if let Some(system) = system.filter(|_| matches!(package.ecosystem, Ecosystem::Deb | Ecosystem::Apk)) {
        let version = if system.version.is_empty() { String::new() } else { format!("-{}", system.version) };
        qualifiers.push(format!("distro={}", escape(&format!("{}{version}", system.id), "")));
    }
    if let Some(source) = &package.source {
        qualifiers.push(format!("upstream={}", escape(source, ":")));
    }
    let qualifiers = if qualifiers.is_empty() { String::new() } else { format!("?{}", qualifiers.join("&")) };
    format!("pkg:{kind}/{name}{version}{qualifiers}")
}

/// Percent-encoded but for letters, digits, `.-_~` and what else may stay.
fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) || kept.as_bytes().contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
