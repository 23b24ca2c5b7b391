//! Says what it finds in an image that has nothing but it: certificates, time zones, who it is.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let certificates = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt")?.matches("BEGIN CERT").count();
    let zone = std::fs::read("/usr/share/zoneinfo/Europe/Berlin")?.len();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()).unwrap_or("?");
    for stream in TcpListener::bind("0.0.0.0:8080")?.incoming() {
        let mut stream = stream?;
        let _ = stream.read(&mut [0; 1024]);
        let body = format!("{certificates} certificates, a zone of {zone} bytes, user {user}\n");
        let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
    Ok(())
}
