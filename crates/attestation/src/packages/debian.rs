use super::{Ecosystem, PACKAGES_LIMIT, Package, field};

/// dpkg's database (deb-control(5), dpkg(1) "PACKAGE STATES"): paragraphs between empty lines. In `status` only what is
/// unpacked counts: of a removed package the configuration may be left.
pub(super) fn status(text: &str, has_states: bool) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut paragraph = Paragraph::default();
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            packages.extend(std::mem::take(&mut paragraph).package(has_states));
            if packages.len() > PACKAGES_LIMIT {
                break;
            }
        } else if !line.starts_with([' ', '\t']) {
            paragraph.line(line);
        }
    }
    packages
}

#[derive(Default)]
struct Paragraph<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    source: &'a str,
    state: &'a str,
}

impl<'a> Paragraph<'a> {
    fn line(&mut self, line: &'a str) {
        let places = [
            ("Package", &mut self.name),
            ("Version", &mut self.version),
            ("Architecture", &mut self.architecture),
            ("Source", &mut self.source),
            ("Status", &mut self.state),
        ];
        for (key, place) in places {
            if let Some(value) = field(line, key) {
                *place = value;
            }
        }
    }

    fn package(self, has_states: bool) -> Option<Package> {
        let state = self.state.split_whitespace().nth(2).unwrap_or_default();
        if has_states && matches!(state, "" | "not-installed" | "config-files") {
            return None;
        }
        let package = Package::new(Ecosystem::Deb, self.name, self.version).filter(|_| !self.version.is_empty())?;
        let source = Package::new(Ecosystem::Deb, self.source, "").map(|source| source_of(&source.name));
        let architecture = Package::new(Ecosystem::Deb, self.architecture, "").map(|word| word.name);
        Some(Package { source, architecture, ..package })
    }
}

/// `glibc (2.36-9)` as `glibc@2.36-9`, as scanners write it.
fn source_of(source: &str) -> String {
    match source.split_once(" (").and_then(|(name, rest)| Some((name, rest.strip_suffix(')')?))) {
        Some((name, version)) => format!("{name}@{version}"),
        None => source.to_owned(),
    }
}
