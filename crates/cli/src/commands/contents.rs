//! `image tree`, `image diff`: what images are made of.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::{Change, FileDiff, ImageDiff, ImageTree, LayerTree};
use serde_json::{Value, json};

use super::Session;
use crate::arguments::{ImageDiffArguments, ImageTreeArguments};
use crate::output::{Outcome, exit, human_size, table};
use crate::{codes, flags, template};

/// How many of the files that waste most are named.
const WASTE_SHOWN: usize = 10;

pub(crate) fn tree(session: &Session, arguments: &ImageTreeArguments) -> Outcome {
    let limits = Limits::new(arguments)?;
    let mut tree = session.observer()?.image_tree(&arguments.name)?;
    let findings = limits.findings(&arguments.name, &tree);
    if !arguments.files && arguments.depth.is_none() {
        tree.layers.iter_mut().for_each(|layer| layer.entries.clear());
    }
    let rows: Vec<Value> =
        tree.layers.iter().enumerate().map(|(index, layer)| row(index + 1, layer, arguments.no_trunc)).collect();
    let text = match arguments.format.as_deref() {
        Some("json" | "{{json .}}") => rows.iter().map(|row| format!("{row}\n")).collect(),
        Some(format) => template::rows(format, &rows, &HEADINGS)?,
        None => tree_text(arguments, &tree),
    };
    if session.output.json {
        session.output.diagnostics(&findings, &SourceMap::new());
    }
    session.output.result("image-tree", &tree, |_| text);
    if !session.output.json {
        session.output.diagnostics(&findings, &SourceMap::new());
    }
    Ok(if findings.is_empty() { exit::DONE } else { exit::FINDINGS })
}

const HEADINGS: [(&str, &str); 7] = [
    ("Number", "LAYER"),
    ("Size", "SIZE"),
    ("Files", "FILES"),
    ("Removed", "REMOVED"),
    ("Wasted", "WASTED"),
    ("Instruction", "INSTRUCTION"),
    ("ID", "ID"),
];

fn row(number: usize, layer: &LayerTree, whole: bool) -> Value {
    json!({
        "Number": number,
        "Size": human_size(layer.size_bytes),
        "Files": layer.files,
        "Removed": layer.removed,
        "Wasted": human_size(layer.wasted_bytes),
        "Instruction": instruction(layer, whole),
        "ID": layer.diff_id,
    })
}

/// On one line, and without what every builder adds.
fn instruction(layer: &LayerTree, whole: bool) -> String {
    const LIMIT: usize = 60;
    let words: Vec<&str> = layer.instruction.split_whitespace().collect();
    let text = words.join(" ");
    let text = text.strip_suffix(" # buildkit").unwrap_or(&text);
    match text {
        "" => "<unknown>".to_owned(),
        text if whole || text.chars().count() <= LIMIT => text.to_owned(),
        text => text.chars().take(LIMIT - 1).chain(['…']).collect(),
    }
}

fn tree_text(arguments: &ImageTreeArguments, tree: &ImageTree) -> String {
    let mut text = format!(
        "{}: {} in {} layer{}, {} wasted ({:.1} %)\n\n",
        arguments.name,
        human_size(tree.size_bytes),
        tree.layers.len(),
        if tree.layers.len() == 1 { "" } else { "s" },
        human_size(tree.wasted_bytes),
        percent(tree)
    );
    let cells = |(index, layer): (usize, &LayerTree)| {
        vec![
            (index + 1).to_string(),
            human_size(layer.size_bytes),
            layer.files.to_string(),
            layer.removed.to_string(),
            human_size(layer.wasted_bytes),
            instruction(layer, arguments.no_trunc),
        ]
    };
    let header = ["LAYER", "SIZE", "FILES", "REMOVED", "WASTED", "INSTRUCTION"];
    let rows: Vec<Vec<String>> = tree.layers.iter().enumerate().map(cells).collect();
    if arguments.files || arguments.depth.is_some() {
        // Each layer's files stand below its line.
        for (line, layer) in
            table(&header, &rows).lines().zip(std::iter::once(None).chain(tree.layers.iter().map(Some)))
        {
            text.push_str(&format!("{line}\n"));
            for (letter, path, size_bytes) in layer.map(|layer| files(layer, arguments.depth)).unwrap_or_default() {
                text.push_str(&format!("  {letter} {:>8}  {path}\n", human_size(size_bytes)));
            }
        }
    } else {
        text.push_str(&table(&header, &rows));
    }
    if !tree.wasted.is_empty() {
        text.push_str("\nWasted the most:\n");
    }
    for waste in tree.wasted.iter().take(WASTE_SHOWN) {
        let layers: Vec<String> = waste.layers.iter().map(usize::to_string).collect();
        let plural = if layers.len() == 1 { "" } else { "s" };
        text.push_str(&format!(
            "  {:>8}  {} (layer{plural} {})\n",
            human_size(waste.wasted_bytes),
            waste.path,
            layers.join(", ")
        ));
    }
    if tree.wasted.len() > WASTE_SHOWN {
        text.push_str(&format!("  and {} more\n", tree.wasted.len() - WASTE_SHOWN));
    }
    text
}

/// Docker's letter, path and size; what lies deeper than `depth` counts for its folder.
fn files(layer: &LayerTree, depth: Option<u16>) -> Vec<(char, String, u64)> {
    let Some(depth) = depth else {
        let entries = layer.entries.iter();
        return entries.map(|entry| (entry.change.letter(), entry.path.clone(), entry.size_bytes)).collect();
    };
    let mut sums: BTreeMap<String, (Change, u64)> = BTreeMap::new();
    for entry in &layer.entries {
        let parts: Vec<&str> = entry.path.split_inclusive('/').collect();
        // The slash in front is a part of its own.
        let path = parts[..parts.len().min(usize::from(depth) + 1)].concat();
        let is_folder = path.len() < entry.path.len();
        let sum = sums.entry(path).or_insert((if is_folder { Change::Changed } else { entry.change }, 0));
        sum.1 += entry.size_bytes;
        if !is_folder {
            sum.0 = entry.change;
        }
    }
    sums.into_iter().map(|(path, (change, size_bytes))| (change.letter(), path, size_bytes)).collect()
}

fn percent(tree: &ImageTree) -> f64 {
    if tree.size_bytes == 0 { 0.0 } else { tree.wasted_bytes as f64 * 100.0 / tree.size_bytes as f64 }
}

/// What the image may be (E2).
struct Limits {
    size_bytes: Option<u64>,
    waste_bytes: Option<u64>,
    waste_percent: Option<f64>,
}

impl Limits {
    fn new(arguments: &ImageTreeArguments) -> Result<Self> {
        let wrong = |text: &str| flags::invalid("--max-waste", text, "a percentage such as 5%, or a size such as 10MB");
        let mut limits = Self { size_bytes: None, waste_bytes: None, waste_percent: None };
        if let Some(text) = &arguments.max_size {
            limits.size_bytes = Some(flags::printed_size_bytes("--max-size", text)?);
        }
        if let Some(text) = &arguments.max_waste {
            match text.strip_suffix('%').map(|number| number.trim().parse::<f64>()) {
                None => {
                    let size_bytes = flags::printed_size_bytes("--max-waste", text).map_err(|_| wrong(text))?;
                    limits.waste_bytes = Some(size_bytes);
                }
                Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => limits.waste_percent = Some(percent),
                Some(_) => return Err(wrong(text)),
            }
        }
        Ok(limits)
    }

    fn findings(&self, name: &str, tree: &ImageTree) -> Vec<Diagnostic> {
        let mut findings = Vec::new();
        if let Some(limit) = self.size_bytes.filter(|limit| tree.size_bytes > *limit) {
            let (size, limit) = (human_size(tree.size_bytes), human_size(limit));
            let mut finding =
                Diagnostic::error(&codes::IMAGE_TOO_LARGE, format!("{name} has {size}, {limit} are allowed"));
            let largest = tree.layers.iter().enumerate().max_by_key(|(_, layer)| layer.size_bytes);
            if let Some((index, layer)) = largest {
                let (size, instruction) = (human_size(layer.size_bytes), instruction(layer, false));
                finding = finding.cause(format!("its largest layer is {}, {size}: {instruction}", index + 1));
            }
            findings.push(finding.hint("see where it is: `carrack image tree --depth 2`"));
        }
        let too_much = self.waste_bytes.is_some_and(|limit| tree.wasted_bytes > limit)
            || self.waste_percent.is_some_and(|limit| percent(tree) > limit);
        if too_much {
            let (wasted, percent) = (human_size(tree.wasted_bytes), percent(tree));
            let message = format!("{name} wastes {wasted}, {percent:.1} % of its size");
            let mut finding = Diagnostic::error(&codes::IMAGE_TOO_WASTEFUL, message);
            if let Some(waste) = tree.wasted.first() {
                finding = finding.cause(format!("the most by {}: {}", waste.path, human_size(waste.wasted_bytes)));
            }
            findings.push(finding.hint("remove files in the RUN that makes them; set owners with COPY --chown"));
        }
        findings
    }
}

pub(crate) fn diff(session: &Session, arguments: &ImageDiffArguments) -> Outcome {
    let diff = session.observer()?.image_diff(&arguments.first, &arguments.second)?;
    let rows: Vec<Value> = diff.files.iter().map(diff_row).collect();
    let text = match arguments.format.as_deref() {
        Some("json" | "{{json .}}") => rows.iter().map(|row| format!("{row}\n")).collect(),
        Some(format) => template::rows(format, &rows, &DIFF_HEADINGS)?,
        None => diff_text(&diff),
    };
    session.output.result("image-diff", &diff, |_| text);
    Ok(exit::DONE)
}

const DIFF_HEADINGS: [(&str, &str); 4] = [("Change", "CHANGE"), ("Path", "PATH"), ("Size", "SIZE"), ("What", "WHAT")];

fn diff_row(file: &FileDiff) -> Value {
    json!({
        "Change": file.change.letter().to_string(),
        "Path": file.path,
        "Size": sizes(file),
        "What": file.what.join(","),
    })
}

fn sizes(file: &FileDiff) -> String {
    let [before, after] = file.size_bytes.map(human_size);
    match file.change {
        Change::Added => after,
        Change::Removed => before,
        Change::Changed if before == after => after,
        Change::Changed => format!("{before} -> {after}"),
    }
}

fn diff_text(diff: &ImageDiff) -> String {
    let mut text = String::new();
    for file in &diff.files {
        let what = if file.what.is_empty() { String::new() } else { format!(": {}", file.what.join(", ")) };
        let size = if file.size_bytes == [0, 0] { String::new() } else { format!(" ({})", sizes(file)) };
        text.push_str(&format!("{} {}{size}{what}\n", file.change.letter(), file.path));
    }
    for (key, [before, after]) in &diff.settings {
        text.push_str(&format!("C {key}: {before} -> {after}\n"));
    }
    let [before, after] = diff.size_bytes.map(human_size);
    let count = |change| diff.files.iter().filter(|file| file.change == change).count();
    text.push_str(&format!(
        "{} added, {} changed, {} removed; {before} -> {after}; {} layers shared\n",
        count(Change::Added),
        count(Change::Changed),
        count(Change::Removed),
        diff.shared_layers
    ));
    text
}
