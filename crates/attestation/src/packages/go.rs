use super::{Ecosystem, Package};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// In front of and behind the list of modules (Go, `runtime/debug.modinfo`).
const SENTINEL: usize = 16;

/// The section `.go.buildinfo` (Go's `debug/buildinfo`): the tool chain's version and the modules, as written since Go 1.18.
pub(super) fn build_info(section: &[u8]) -> Result<Vec<Package>, String> {
    let Some(start) = (0..section.len()).step_by(16).find(|at| section[*at..].starts_with(MAGIC)) else {
        return Err("its section .go.buildinfo is not one of Go's".into());
    };
    let header = &section[start..];
    if header.get(15).is_none_or(|flags| flags & 2 == 0) {
        return Err("it was built by Go before 1.18, whose list of modules is not read".into());
    }
    let damaged = || "its list of modules is damaged".to_owned();
    let (toolchain, rest) = sized(header.get(32..).unwrap_or_default()).ok_or_else(damaged)?;
    let (modules, _) = sized(rest).ok_or_else(damaged)?;
    let mut packages = Vec::new();
    let version = toolchain.split(|byte| *byte == b' ').next().unwrap_or_default();
    let version = String::from_utf8_lossy(version.strip_prefix(b"go").unwrap_or(version)).into_owned();
    packages.extend(Package::new(Ecosystem::Golang, "stdlib", &version));
    // Without modules there are no sentinels either.
    let framed = modules.len().checked_sub(SENTINEL).filter(|end| *end > SENTINEL && modules[end - 1] == b'\n');
    if let Some(end) = framed {
        packages.extend(listed(&String::from_utf8_lossy(&modules[SENTINEL..end])));
    }
    Ok(packages)
}

/// `mod` and `dep` lines, `=>` for what was built in place of the line before (Go, `debug.ParseBuildInfo`).
fn listed(text: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (kind, path, version) =
            (fields.next(), fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        // `(devel)` is a working copy, which has no version.
        let package =
            Package::new(Ecosystem::Golang, path, version.trim_matches(['(', ')']).trim_start_matches("devel"));
        match kind {
            Some("mod" | "dep") => packages.extend(package),
            // A folder in its place has no version and is no module that others know.
            Some("=>") if !version.is_empty() => {
                packages.pop();
                packages.extend(package);
            }
            _ => {}
        }
    }
    packages
}

/// A length as a varint, and as many bytes.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: u64 = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        length |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}
