//! `images --tree`: each image with its names, and below it what they stand for on several platforms.

use carrack_engine::{Engine, ImageFamily};

use super::Session;
use crate::arguments::ImagesArguments;
use crate::output::{Outcome, exit, human_size};

/// Between two columns.
const GAP: &str = "   ";

pub(crate) fn show(session: &Session, engine: &Engine, arguments: &ImagesArguments) -> Outcome {
    let families = engine.image_families()?;
    let shown: Vec<ImageFamily> =
        families.into_iter().filter(|family| arguments.all || !family.names.is_empty()).collect();
    session.output.result("image-families", &shown, |shown| text(shown));
    Ok(exit::DONE)
}

/// As Docker draws it: sizes end below each other, and an image with several names has all but the last above it.
fn text(families: &[ImageFamily]) -> String {
    let cells = |name: String, family: &ImageFamily| {
        let used = if family.is_used { "U" } else { "" };
        [name, family.id.short(), human_size(family.disk_bytes), human_size(family.content_bytes), used.to_owned()]
    };
    // A line is a name alone, or the cells of an image.
    let mut lines: Vec<(String, Option<[String; 5]>)> = Vec::new();
    for family in families {
        let (last, others) = match family.names.split_last() {
            Some((last, others)) => (last.clone(), others),
            None => ("<untagged>".to_owned(), [].as_slice()),
        };
        lines.extend(others.iter().map(|name| (name.clone(), None)));
        lines.push((last.clone(), Some(cells(last, family))));
        for (index, (platform, below)) in family.platforms.iter().enumerate() {
            let branch = if index + 1 == family.platforms.len() { "└─" } else { "├─" };
            let name = format!("{branch} {platform}");
            lines.push((name.clone(), Some(cells(name, below))));
        }
        if !family.platforms.is_empty() {
            lines.push((String::new(), None));
        }
    }
    let header = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"].map(str::to_owned);
    let width = |column: usize| {
        let all = lines.iter().filter_map(|(_, cells)| cells.as_ref()).chain([&header]);
        all.map(|cells| cells[column].chars().count()).max().unwrap_or(0)
    };
    let names = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(width(0));
    let widths = [names, width(1), width(2), width(3)];
    let line = |cells: &[String; 5], is_header: bool| {
        let [name, id, disk, content, extra] = cells;
        let [first, second, third, fourth] = widths;
        match is_header {
            true => format!("{name:<first$}{GAP}{id:<second$}{GAP}{disk:<third$}{GAP}{content:<fourth$}{GAP}{extra}"),
            false => format!("{name:<first$}{GAP}{id:<second$}{GAP}{disk:>third$}{GAP}{content:>fourth$}{GAP}{extra}"),
        }
    };
    let mut out = line(&header, true) + "\n";
    for (name, cells) in &lines {
        let text = cells.as_ref().map_or(name.clone(), |cells| line(cells, false));
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use carrack_oci::Digest;

    use super::*;

    #[test]
    fn platforms_stand_below_their_names() {
        let one = |id: &str, names: &[&str], disk_bytes| ImageFamily {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            id: Digest::of(id.as_bytes()),
            disk_bytes,
            content_bytes: 0,
            is_used: id == "b",
            created: None,
            platforms: Vec::new(),
        };
        let below = ["linux/amd64", "linux/arm64"].map(|platform| (platform.to_owned(), one("b", &[], 5_000_000)));
        let families = [
            ImageFamily { platforms: below.to_vec(), ..one("a", &["app:1", "app:latest"], 10_000_000) },
            one("c", &["busybox:latest"], 1_984_301),
        ];
        insta::assert_snapshot!(text(&families), @r"
        IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA
        app:1
        app:latest       ca978112ca1b         10MB             0B
        ├─ linux/amd64   3e23e8160039          5MB             0B   U
        └─ linux/arm64   3e23e8160039          5MB             0B   U

        busybox:latest   2e7d2c03a950       1.98MB             0B
        ");
    }
}
