//! Whether Docker holds containers or volumes of a project: nobody must think that we ate their database (J9).
//!
//! Docker is only read: asked over its socket, or, where it does not answer, looked for in its data folder.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carrack_diag::Diagnostic;
use carrack_plan::label;
use serde_json::Value;

use crate::codes;

/// Where to look for Docker.
#[derive(Debug, Clone)]
pub struct Docker {
    /// The Engine API's socket.
    pub socket: PathBuf,
    /// The data folder.
    pub data: PathBuf,
}

/// The usual places; `DOCKER_HOST` names another socket.
impl Docker {
    /// With the socket that `docker_host` (the value of `DOCKER_HOST`) names, where it names one.
    pub fn new(docker_host: Option<&str>) -> Self {
        let socket = docker_host.and_then(|host| host.strip_prefix("unix://")).unwrap_or("/var/run/docker.sock");
        Self { socket: socket.into(), data: "/var/lib/docker".into() }
    }

    /// What Docker holds of a project; empty where there is no Docker. The error is a warning: nobody can tell.
    pub fn holdings(&self, project: &str) -> Result<Vec<String>, Box<Diagnostic>> {
        if self.socket.exists()
            && let Ok(found) = self.ask(project)
        {
            return Ok(found);
        }
        self.look(project)
    }

    fn ask(&self, project: &str) -> std::io::Result<Vec<String>> {
        let filters = format!("{{\"label\":[\"{}={project}\"]}}", label::PROJECT);
        let filters = percent_encode(&filters);
        let mut found = Vec::new();
        let containers = self.get(&format!("/containers/json?all=true&filters={filters}"))?;
        for container in containers.as_array().into_iter().flatten() {
            let name = container["Names"][0].as_str().unwrap_or("?").trim_start_matches('/');
            found.push(format!("container {name} ({})", container["State"].as_str().unwrap_or("?")));
        }
        let volumes = self.get(&format!("/volumes?filters={filters}"))?;
        for volume in volumes["Volumes"].as_array().into_iter().flatten() {
            found.push(format!("volume {}", volume["Name"].as_str().unwrap_or("?")));
        }
        Ok(found)
    }

    /// HTTP/1.0, so that the answer ends with the connection.
    fn get(&self, path: &str) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(64 << 20).read_to_end(&mut answer)?;
        let invalid = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        let body = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(invalid)? + 4;
        if !answer.starts_with(b"HTTP/1.0 200") && !answer.starts_with(b"HTTP/1.1 200") {
            return Err(invalid());
        }
        Ok(serde_json::from_slice(&answer[body..])?)
    }

    /// Compose names its volumes PROJECT_NAME; containers can't be told apart without reading each one's configuration.
    fn look(&self, project: &str) -> Result<Vec<String>, Box<Diagnostic>> {
        let mut found = Vec::new();
        for name in self.names(&self.data.join("volumes"))? {
            if name.strip_prefix(project).is_some_and(|rest| rest.starts_with('_')) {
                found.push(format!("volume {name}"));
            }
        }
        let wanted = format!("\"{}\":\"{project}\"", label::PROJECT);
        let containers = self.data.join("containers");
        for id in self.names(&containers)? {
            let text = std::fs::read_to_string(containers.join(&id).join("config.v2.json")).unwrap_or_default();
            if text.contains(&wanted) {
                found.push(format!("container {}", id.get(..12).unwrap_or(&id)));
            }
        }
        Ok(found)
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, Box<Diagnostic>> {
        match std::fs::read_dir(folder) {
            Ok(entries) => {
                Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Diagnostic::warning(
                &codes::DOCKER_HOLDS_PROJECT,
                format!("can't tell whether Docker holds this project: {} is unreadable", folder.display()),
            )
            .cause(error.to_string())
            .hint("if the project ran under Docker before, its data is in Docker's volumes")
            .boxed()),
        }
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn j9_docker_is_asked_over_its_socket() {
        let folder = std::env::temp_dir().join(format!("carrack-docker-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let docker = Docker { socket: folder.join("docker.sock"), data: folder.join("data") };
        let listener = UnixListener::bind(&docker.socket).unwrap();
        let server = std::thread::spawn(move || {
            for body in [r#"[{"Names":["/shop-db-1"],"State":"running"}]"#, r#"{"Volumes":[{"Name":"shop_data"}]}"#] {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert!(line.contains("com.docker.compose.project%3Dshop"), "{line}");
                write!(&stream, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
            }
        });
        assert_eq!(docker.holdings("shop").unwrap(), ["container shop-db-1 (running)", "volume shop_data"]);
        server.join().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn j9_a_docker_that_does_not_run_is_looked_for_on_disk() {
        let folder = std::env::temp_dir().join(format!("carrack-docker-data-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("volumes/shop_data")).unwrap();
        std::fs::create_dir_all(folder.join("volumes/shopping_data")).unwrap();
        std::fs::create_dir_all(folder.join("containers/0123456789abcdef")).unwrap();
        std::fs::write(
            folder.join("containers/0123456789abcdef/config.v2.json"),
            r#"{"Config":{"Labels":{"com.docker.compose.project":"shop"}}}"#,
        )
        .unwrap();
        let docker = Docker { socket: folder.join("none.sock"), data: folder.clone() };
        assert_eq!(docker.holdings("shop").unwrap(), ["volume shop_data", "container 0123456789ab"]);
        assert!(docker.holdings("other").unwrap().is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
