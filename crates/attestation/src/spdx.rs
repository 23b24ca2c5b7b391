use serde_json::{Value, json};

use crate::bill::{Bill, Listed, Subject};
use crate::packages::Ecosystem;

/// A bill as SPDX 2.3 in JSON. The same bill and subject give the same document.
///
/// Of each package `sourceInfo` says which file told of it, and `comment` which layer and instruction brought it, also into
/// the stage that it was copied from.
pub fn spdx(bill: &Bill, subject: &Subject) -> Value {
    const IMAGE: &str = "SPDXRef-Image";
    let mut packages = vec![json!({
        "name": subject.name,
        "SPDXID": IMAGE,
        "versionInfo": subject.id,
        "supplier": "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    if let Some(system) = &bill.system {
        packages.push(json!({
            "name": system.id,
            "SPDXID": "SPDXRef-OperatingSystem",
            "versionInfo": system.version,
            "summary": system.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
        }));
        relationships.push(relationship(IMAGE, "CONTAINS", "SPDXRef-OperatingSystem"));
    }
    for (number, listed) in bill.packages.iter().enumerate() {
        let id = identifier(number, listed);
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        packages.push(json!({
            "name": listed.package.name,
            "SPDXID": id,
            "versionInfo": listed.package.version,
            "supplier": "NOASSERTION",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "sourceInfo": format!("acquired from {}: {}", origin(listed.package.ecosystem), listed.locations.join(", ")),
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "comment": comment(listed),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": listed.purl,
            }],
        }));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        // Where a document's maker has no site of his own (SPDX 2.3, 6.5).
        "documentNamespace": format!("https://spdx.org/spdxdocs/carrack-{}", subject.id.hex()),
        "creationInfo": { "creators": [creator()], "created": subject.created },
        "packages": packages,
        "relationships": relationships,
    });
    if !bill.unread.is_empty() {
        let lines: Vec<String> =
            bill.unread.iter().map(|unread| format!("{}: {}", unread.path, unread.reason)).collect();
        document["comment"] = format!("not read:\n{}", lines.join("\n")).into();
    }
    document
}

fn comment(listed: &Listed) -> String {
    let mut comment = format!("layerID: {}\ninstruction: {}", listed.origin.layer, listed.origin.instruction);
    if let Some(from) = &listed.from {
        comment.push_str(&format!("\nfrom layerID: {}\nfrom instruction: {}", from.layer, from.instruction));
    }
    comment
}

fn creator() -> String {
    format!("Tool: carrack-{}", env!("CARGO_PKG_VERSION"))
}

fn relationship(element: &str, kind: &str, related: &str) -> Value {
    json!({ "spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related })
}

/// Letters, digits, dots and dashes only (SPDX 2.3, 3.2).
fn identifier(number: usize, listed: &Listed) -> String {
    let name = listed.package.name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    format!("SPDXRef-Package-{number}-{}", name.take(100).collect::<String>())
}

fn origin(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Deb => "dpkg's database",
        Ecosystem::Apk => "apk's database",
        Ecosystem::Pypi => "Python package metadata",
        Ecosystem::Npm => "Node package metadata",
        Ecosystem::Golang => "a Go program's build information",
        Ecosystem::Cargo => "a list of Rust crates",
    }
}
