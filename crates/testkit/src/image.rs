//! Small images for tests: archives as `docker save` and OCI tools write them, and root file systems.

use carrack_oci::{Config, Digest, ImageConfig, Platform};

use crate::tar::Builder;

/// A root file system with busybox and its usual links, as a tar; none where /bin/busybox is not a static program.
pub fn busybox_rootfs() -> Option<Vec<u8>> {
    const TOOLS: &[&str] = &[
        "sh", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo", "env", "expr", "false", "find", "grep",
        "head", "hostname", "httpd", "id", "ip", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv", "nc",
        "nslookup", "ping", "printf", "ps", "pwd", "readlink", "rm", "sed", "seq", "sleep", "sort", "stat", "stty",
        "sync", "tail", "test", "touch", "tr", "true", "umount", "uname", "wc", "wget", "whoami", "xargs", "yes",
    ];
    let program = std::fs::read("/bin/busybox").ok()?;
    // A dynamic program names its loader near its start.
    if program[..program.len().min(4096)].windows(8).any(|bytes| bytes == b"ld-linux") {
        return None;
    }
    let mut tar = Builder::new();
    for dir in ["bin/", "dev/", "etc/", "proc/", "root/", "sys/", "usr/", "var/", "var/tmp/"] {
        tar = tar.dir(dir);
    }
    tar = tar.mode(0o1777).dir("tmp/").mode(0o755).file("bin/busybox", program);
    for tool in TOOLS {
        tar = tar.symlink(&format!("bin/{tool}"), "busybox");
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000:app:/:/bin/sh\n";
    let group = "root:x:0:\nnogroup:x:65534:\napp:x:1000:\nextra:x:2000:app\n";
    Some(tar.file("etc/passwd", passwd).file("etc/group", group).build())
}

/// The configuration of an image of these layers (plain tars, base first), as JSON.
pub fn config(layers: &[Vec<u8>], config: Config) -> Vec<u8> {
    let mut image = ImageConfig::scratch(&Platform::host());
    image.created = Some("2024-01-01T00:00:00Z".into());
    image.rootfs.diff_ids = layers.iter().map(Digest::of).collect();
    image.config = config;
    serde_json::to_vec(&image).unwrap_or_default()
}

/// An archive as `docker save` wrote it before it wrote OCI layouts: `manifest.json`, `ID.json`, `LAYER/layer.tar`.
pub fn docker_archive(name: &str, config: &[u8], layers: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = Builder::new();
    let mut paths = Vec::new();
    for layer in layers {
        let dir = Digest::of(layer).hex();
        tar = tar.dir(&format!("{dir}/")).file(&format!("{dir}/VERSION"), "1.0");
        paths.push(format!("{dir}/layer.tar"));
        tar = tar.file(&format!("{dir}/layer.tar"), layer);
    }
    let config_path = format!("{}.json", Digest::of(config).hex());
    let manifest = serde_json::json!([{"Config": config_path, "RepoTags": [name], "Layers": paths}]);
    tar.file(&config_path, config).file("manifest.json", manifest.to_string()).build()
}

/// An OCI layout (image-spec `image-layout.md`) with one image; layers as given, plain or compressed.
pub fn oci_layout(name: &str, config: &[u8], layers: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut blobs = vec![config.to_vec()];
    let mut descriptors = Vec::new();
    for (media_type, layer) in layers {
        let digest = Digest::of(layer);
        descriptors.push(serde_json::json!({"mediaType": media_type, "digest": digest, "size": layer.len()}));
        blobs.push(layer.clone());
    }
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": carrack_oci::media_type::MANIFEST,
        "config": {"mediaType": carrack_oci::media_type::CONFIG, "digest": Digest::of(config), "size": config.len()},
        "layers": descriptors,
    })
    .to_string();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": carrack_oci::media_type::MANIFEST,
            "digest": Digest::of(&manifest),
            "size": manifest.len(),
            "annotations": {"io.containerd.image.name": name},
        }],
    });
    blobs.push(manifest.into_bytes());
    let mut tar = Builder::new().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in &blobs {
        tar = tar.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    tar.file("index.json", index.to_string()).build()
}
