//! `sbom`, `attestation`.

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::{AttestationView, Sbom};
use carrack_oci::Platform;
use serde_json::json;

use super::Session;
use crate::arguments::{AttestationCommand, SbomArguments, SbomFormat};
use crate::output::{Outcome, exit, human_size, table};
use crate::{codes, destination};

pub(crate) fn sbom(session: &Session, arguments: &SbomArguments) -> Outcome {
    let sbom = session.observer()?.sbom(&arguments.name, platform(arguments.platform.as_deref())?.as_ref())?;
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
        destination::write(path, &text())?;
        session
            .output
            .result("sbom", &json!({ "file": path, "packages": sbom.bill().packages.len() }), |_| String::new());
        return Ok(exit::DONE);
    }
    let listed = || json!({ "image": sbom.image(), "os": sbom.bill().system, "packages": sbom.bill().packages });
    session.output.result("sbom", &document.clone().unwrap_or_else(listed), |_| text());
    Ok(exit::DONE)
}

fn platform(text: Option<&str>) -> Result<Option<Platform>> {
    text.map(str::parse).transpose()
}

pub(crate) fn run(session: &Session, command: &AttestationCommand) -> Outcome {
    let engine = session.observer()?;
    match command {
        AttestationCommand::Ls(arguments) => {
            let views = engine.attestations(&arguments.name, platform(arguments.platform.as_deref())?.as_ref())?;
            session.output.result("attestations", &views, |views| {
                let row = |view: &AttestationView| {
                    vec![
                        view.kind.clone(),
                        view.predicate_type.clone(),
                        human_size(view.size_bytes),
                        view.digest.short(),
                    ]
                };
                table(&["TYPE", "PREDICATE TYPE", "SIZE", "DIGEST"], &views.iter().map(row).collect::<Vec<_>>())
            });
        }
        AttestationCommand::Inspect(arguments) => {
            let (name, kind) = (&arguments.name, &arguments.r#type);
            let Some(statement) = engine.attestation(name, platform(arguments.platform.as_deref())?.as_ref(), kind)?
            else {
                let message = format!("nothing of the type `{kind}` is said of {name}");
                return Err(Diagnostic::error(&codes::NO_ATTESTATION, message)
                    .hint(format!(
                        "`carrack attestation ls {name}` lists what is; `carrack build --attest type={kind}` makes it"
                    ))
                    .into());
            };
            session.output.result("attestation", &statement, |statement| format!("{statement:#}\n"));
        }
    }
    Ok(exit::DONE)
}

/// The instruction is cut: whole ones are in the documents.
fn packages_table(sbom: &Sbom) -> String {
    const SHOWN: usize = 60;
    let cut = |instruction: &str| {
        let mut shown: String = instruction.chars().take(SHOWN).collect();
        if shown.len() < instruction.len() {
            shown.push('…');
        }
        shown
    };
    let rows = sbom.bill().packages.iter().map(|listed| {
        let mut instruction = cut(&listed.origin.instruction);
        if let Some(from) = &listed.from {
            instruction = format!("{} by {instruction}", cut(&from.instruction));
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
