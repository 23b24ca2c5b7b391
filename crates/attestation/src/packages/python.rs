use super::{Ecosystem, Package, field};

/// Core metadata (packaging.python.org, "Core metadata specifications"): headers up to the first empty line.
pub(super) fn metadata(text: &str) -> Option<Package> {
    let headers = || text.lines().take_while(|line| !line.is_empty());
    let value = |key: &str| headers().find_map(|line| field(line, key)).unwrap_or_default();
    Package::new(Ecosystem::Pypi, value("Name"), value("Version")).filter(|package| !package.version.is_empty())
}
