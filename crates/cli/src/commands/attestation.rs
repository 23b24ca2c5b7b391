//! `sbom`.

use std::path::Path;

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::Sbom;
use serde_json::json;

use super::Session;
use crate::arguments::{SbomArguments, SbomFormat};
use crate::codes;
use crate::output::{Outcome, exit, table};

pub(crate) fn sbom(session: &Session, arguments: &SbomArguments) -> Outcome {
    let sbom = session.observer()?.sbom(&arguments.name)?;
    session.output.diagnostics(&sbom.warnings(), &SourceMap::new());
    let document = match arguments.format {
        SbomFormat::Table => None,
        SbomFormat::SpdxJson => Some(sbom.spdx()),
        SbomFormat::CyclonedxJson => Some(sbom.cyclonedx()),
    };
    let text = || match &document {
        Some(document) => format!("{document:#}\n"),
        None => packages_table(&sbom),
    };
    if let Some(path) = &arguments.output {
        write(path, &text())?;
        session
            .output
            .result("sbom", &json!({ "file": path, "packages": sbom.bill().packages.len() }), |_| String::new());
        return Ok(exit::DONE);
    }
    let listed = || json!({ "image": sbom.image(), "os": sbom.bill().system, "packages": sbom.bill().packages });
    session.output.result("sbom", &document.clone().unwrap_or_else(listed), |_| text());
    Ok(exit::DONE)
}

/// The instruction is cut: whole ones are in the documents.
fn packages_table(sbom: &Sbom) -> String {
    const SHOWN: usize = 60;
    let rows = sbom.bill().packages.iter().map(|listed| {
        let mut instruction: String = listed.origin.instruction.chars().take(SHOWN).collect();
        if instruction.len() < listed.origin.instruction.len() {
            instruction.push('…');
        }
        let ecosystem = serde_json::to_value(listed.package.ecosystem).unwrap_or_default();
        vec![
            listed.package.name.clone(),
            listed.package.version.clone(),
            ecosystem.as_str().unwrap_or_default().to_owned(),
            listed.origin.layer.short(),
            instruction,
        ]
    });
    table(&["NAME", "VERSION", "TYPE", "LAYER", "BROUGHT BY"], &rows.collect::<Vec<_>>())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't write {}", path.display()))
            .cause(error.to_string())
            .boxed()
    })
}
