//! How addresses are reached: names to addresses, proxies by scheme, the authorities that the system trusts.
//!
//! This crate never sends a request, and never knows a registry.

mod authorities;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod location;
mod names;
mod pace;
mod proxies;

pub use authorities::{certificates, system_bundles};
pub use location::absolute;
pub use names::Names;
pub use pace::Pace;
pub use proxies::{Proxies, is_loopback, proxy};
