use super::{Ecosystem, PACKAGES_LIMIT, Package};

/// apk's database (apk-v2 "installed"): records between empty lines, a letter, a colon and a value a line.
pub(super) fn installed(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let (mut name, mut version, mut architecture, mut origin) = ("", "", "", "");
    for line in text.lines().chain([""]) {
        match line.split_at_checked(2) {
            Some(("P:", value)) => name = value,
            Some(("V:", value)) => version = value,
            Some(("A:", value)) => architecture = value,
            Some(("o:", value)) => origin = value,
            _ if line.is_empty() => {
                let package = Package::new(Ecosystem::Apk, name, version).filter(|_| !version.is_empty());
                packages.extend(package.map(|package| Package {
                    architecture: Package::new(Ecosystem::Apk, architecture, "").map(|word| word.name),
                    source:
                        Package::new(Ecosystem::Apk, origin, "").map(|word| word.name).filter(|origin| origin != name),
                    ..package
                }));
                (name, version, architecture, origin) = ("", "", "", "");
                if packages.len() > PACKAGES_LIMIT {
                    break;
                }
            }
            _ => {}
        }
    }
    packages
}
