use serde_json::{Value, json};

use crate::bill::{Bill, Subject};

/// A bill as CycloneDX 1.6 in JSON. The same bill and subject give the same document.
///
/// Which layer and instruction brought a component stands in its properties `carrack:layer` and `carrack:instruction`; those of
/// the stage that it was copied from in `carrack:from-layer` and `carrack:from-instruction`.
pub fn cyclonedx(bill: &Bill, subject: &Subject) -> Value {
    let mut components = Vec::new();
    if let Some(system) = &bill.system {
        components.push(json!({
            "type": "operating-system",
            "bom-ref": format!("os:{}", system.id),
            "name": system.id,
            "version": system.version,
            "description": system.name,
        }));
    }
    components.extend(bill.packages.iter().map(|listed| {
        let property = |name: &str, value: &str| json!({ "name": format!("carrack:{name}"), "value": value });
        let mut properties = vec![
            property("layer", &listed.origin.layer.to_string()),
            property("instruction", &listed.origin.instruction),
        ];
        properties.extend(listed.from.iter().flat_map(|from| {
            [property("from-layer", &from.layer.to_string()), property("from-instruction", &from.instruction)]
        }));
        properties.extend(listed.locations.iter().map(|path| property("location", path)));
        json!({
            "type": "library",
            "bom-ref": listed.purl,
            "name": listed.package.name,
            "version": listed.package.version,
            "purl": listed.purl,
            "properties": properties,
        })
    }));
    let unread = bill
        .unread
        .iter()
        .map(|unread| json!({ "name": "carrack:not-read", "value": format!("{}: {}", unread.path, unread.reason) }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&subject.id.hex()),
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": { "components": [{ "type": "application", "name": "carrack", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "container",
                "bom-ref": subject.id,
                "name": subject.name,
                "version": subject.id,
            },
            "properties": unread.collect::<Vec<_>>(),
        },
        "components": components,
    })
}

/// A UUID of version 8 (RFC 9562): of the subject's digest.
fn serial(hex: &str) -> String {
    let digit = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-a{}-{}", digit(0..8), digit(8..12), digit(13..16), digit(17..20), digit(20..32))
}
