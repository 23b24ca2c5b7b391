use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};

use crate::{Condition, FileVersion, Network, Release, Volume};

/// One change of the machine. The executor does what it says and decides nothing.
///
/// Containers are named, not numbered: their ids are not known when the plan is made. A name is the one the
/// container has when the operation runs, renames before it counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Operation {
    /// Puts the content of a secret or config, which the caller holds, into the vault.
    StoreFile {
        /// Which one.
        file: FileVersion,
    },
    /// Makes a network.
    CreateNetwork {
        /// As it is wanted.
        network: Network,
    },
    /// Takes a network away. No running container is on it.
    RemoveNetwork {
        /// As it was asked for, so that an undo can make it again.
        network: Network,
    },
    /// Makes an empty volume.
    CreateVolume {
        /// As it is wanted.
        volume: Volume,
    },
    /// Takes a volume away, **with its data**.
    RemoveVolume {
        /// Its name.
        name: String,
    },
    /// Makes a container and does not start it.
    CreateContainer {
        /// As it is wanted; its name is free at this point.
        container: Box<Container>,
        /// The image's id, which the store holds.
        image: Digest,
        /// A container, by the name it has now, whose anonymous volumes the new one takes over, target by target.
        inherit_volumes_from: Option<String>,
    },
    /// Starts a container that is not running.
    StartContainer {
        /// Its name.
        name: String,
        /// Whether it answers to its names on the networks at once, not only when they are announced.
        #[serde(default = "at_once")]
        announced: bool,
    },
    /// Waits until a container is ready. Fails at once where it can't become so any more: it ended, it is unhealthy.
    WaitFor {
        /// Its name.
        name: String,
        /// What ready means.
        condition: Condition,
        /// At most so long.
        timeout_ms: u64,
        /// Whether a failure fails the apply; otherwise it is a warning.
        required: bool,
    },
    /// Lets a container answer to its names on its networks, once it is ready. Nothing where it does so already.
    AnnounceNames {
        /// Its name.
        name: String,
    },
    /// Takes a running container's names off its networks and waits until nobody can have an older answer any more, so
    /// that it can be stopped without losing whoever was about to ask it. Nothing where it does not run.
    WithdrawNames {
        /// Its name.
        name: String,
    },
    /// Stops a container: its stop signal, then SIGKILL. One that has ended meanwhile is stopped.
    StopContainer {
        /// Its name.
        name: String,
        /// Between the two; none is the container's own, else 10,000.
        timeout_ms: Option<u64>,
        /// Whether its names were withdrawn before, so that an undo announces them again once it is ready.
        #[serde(default)]
        withdrawn: bool,
    },
    /// Gives a container another name. Its names on the networks stay.
    RenameContainer {
        /// The name it has.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// Takes away a container that is not running.
    RemoveContainer {
        /// Its name.
        name: String,
        /// Whether its anonymous volumes go as well, **with their data**.
        anonymous_volumes: bool,
    },
    /// Records the release that the operations before have made. **The point of no return**: an apply that is
    /// interrupted before it is undone, one that is interrupted after it is finished.
    RecordRelease {
        /// Without number, time and message: these are the executor's.
        release: Box<Release>,
    },
    /// Records that the project is not deployed any more. Its releases stay.
    RetireRelease {
        /// The project.
        project: String,
    },
}

impl Operation {
    /// What takes this operation back, where anything has to be and can be.
    ///
    /// A volume that an undone apply made stays: it is found again by the next one, and data is never removed unasked.
    pub fn inverse(&self) -> Option<Operation> {
        match self {
            Self::CreateNetwork { network } => Some(Self::RemoveNetwork { network: network.clone() }),
            Self::RemoveNetwork { network } => Some(Self::CreateNetwork { network: network.clone() }),
            Self::CreateContainer { container, inherit_volumes_from, .. } => Some(Self::RemoveContainer {
                name: container.name.clone(),
                anonymous_volumes: inherit_volumes_from.is_none(),
            }),
            Self::StartContainer { name, .. } => {
                Some(Self::StopContainer { name: name.clone(), timeout_ms: None, withdrawn: false })
            }
            Self::StopContainer { name, withdrawn, .. } => {
                Some(Self::StartContainer { name: name.clone(), announced: !withdrawn })
            }
            Self::AnnounceNames { name } => Some(Self::WithdrawNames { name: name.clone() }),
            Self::WithdrawNames { name } => Some(Self::AnnounceNames { name: name.clone() }),
            Self::RenameContainer { from, to } => Some(Self::RenameContainer { from: to.clone(), to: from.clone() }),
            Self::StoreFile { .. }
            | Self::CreateVolume { .. }
            | Self::RemoveVolume { .. }
            | Self::WaitFor { .. }
            | Self::RemoveContainer { .. }
            | Self::RecordRelease { .. }
            | Self::RetireRelease { .. } => None,
        }
    }

    /// Whether an interrupted apply that has done this is finished rather than undone.
    pub fn is_point_of_no_return(&self) -> bool {
        match self {
            Self::RecordRelease { .. }
            | Self::RetireRelease { .. }
            | Self::RemoveVolume { .. }
            | Self::RemoveContainer { .. } => true,
            Self::StoreFile { .. }
            | Self::CreateNetwork { .. }
            | Self::RemoveNetwork { .. }
            | Self::CreateVolume { .. }
            | Self::CreateContainer { .. }
            | Self::StartContainer { .. }
            | Self::WaitFor { .. }
            | Self::AnnounceNames { .. }
            | Self::WithdrawNames { .. }
            | Self::StopContainer { .. }
            | Self::RenameContainer { .. } => false,
        }
    }
}

/// The words of a plan's line, without the reason.
impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StoreFile { file } if file.secret => write!(f, "store secret {}", file.name),
            Self::StoreFile { file } => write!(f, "store config {}", file.name),
            Self::CreateNetwork { network } => write!(f, "create network {}", network.name),
            Self::RemoveNetwork { network } => write!(f, "remove network {}", network.name),
            Self::CreateVolume { volume } => write!(f, "create volume {}", volume.name),
            Self::RemoveVolume { name } => write!(f, "remove volume {name} with its data"),
            Self::CreateContainer { container, .. } => write!(f, "create {}", container.name),
            Self::StartContainer { name, .. } => write!(f, "start {name}"),
            Self::WaitFor { name, condition, .. } => write!(f, "wait for {name} to {condition}"),
            Self::AnnounceNames { name } => write!(f, "announce the names of {name}"),
            Self::WithdrawNames { name } => write!(f, "withdraw the names of {name}"),
            Self::StopContainer { name, .. } => write!(f, "stop {name}"),
            Self::RenameContainer { from, to } => write!(f, "rename {from} to {to}"),
            Self::RemoveContainer { name, anonymous_volumes: false } => write!(f, "remove {name}"),
            Self::RemoveContainer { name, anonymous_volumes: true } => {
                write!(f, "remove {name} with its anonymous volumes")
            }
            Self::RecordRelease { release } => write!(f, "record release {}", release.id.short()),
            Self::RetireRelease { project } => write!(f, "record that {project} is down"),
        }
    }
}

/// Completes "wait for NAME to …".
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Running => "run",
            Self::Healthy => "be healthy",
            Self::CompletedSuccessfully => "complete successfully",
        })
    }
}

/// What a start means in a journal that was written before names could wait.
fn at_once() -> bool {
    true
}
