//! Media types of image-spec `media-types.md`, and Docker's older names for the same things.

/// An image index (image-spec `image-index.md`).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image manifest (image-spec `manifest.md`).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image configuration (image-spec `config.md`).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer: plain tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer: gzip of a tar.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer: zstd of a tar.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The configuration of an artefact that needs none: `{}` (image-spec `manifest.md`, "Guidance for an Empty Descriptor").
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// What a build cache holds (BuildKit, `cache/remotecache/v1`).
pub const CACHE_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Docker's manifest list, schema 2.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer: plain tar.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer: gzip of a tar.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Whether the type is an index or manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

/// Whether the type is an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}
