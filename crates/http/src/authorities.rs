//! Who is trusted to say who somebody is.

use std::io;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where distributions keep the authorities that they trust: Debian, Fedora, openSUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Files with the system's authorities, of which the first that exists counts: that of `SSL_CERT_FILE`, then where
/// distributions keep theirs.
pub fn system_bundles() -> Vec<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    named.into_iter().map(PathBuf::from).chain(SYSTEM_BUNDLES.iter().map(PathBuf::from)).collect()
}

/// The certificates of a PEM file.
///
/// # Errors
/// Where it can't be read, or a certificate of it is malformed.
pub fn certificates(path: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(path)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(io::Error::other)? {
            certificates.push(certificate);
        }
    }
    Ok(certificates)
}
