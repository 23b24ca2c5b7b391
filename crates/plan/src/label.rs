//! The labels that Compose puts on what it makes, so that its tools and ours find each other's projects.

/// The project's name.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// The replica's number, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// A hash of what was asked for.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// `True` on the containers of `run`.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// `SERVICE:CONDITION:RESTART`, separated by commas.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The Compose files, separated by commas.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// The project's folder.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The image's id.
pub const IMAGE: &str = "com.docker.compose.image";
/// The network's name in the project.
pub const NETWORK: &str = "com.docker.compose.network";
/// The volume's name in the project.
pub const VOLUME: &str = "com.docker.compose.volume";

/// What every label of Compose's own begins with.
pub const PREFIX: &str = "com.docker.compose.";
