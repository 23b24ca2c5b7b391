//! From a wanted state and an observed one to a plan: the steps between them, each with its reason, and the
//! releases that a project's history is made of.
//!
//! This crate never looks at the machine and never changes it: states come in as values, plans go out as values.

mod builder;
pub mod codes;
mod compare;
mod desired;
mod down;
pub mod label;
mod lower;
mod observed;
mod operation;
mod plan;
mod reconcile;
mod release;

pub use compare::{Change, Way};
pub use desired::{
    Condition, Dependency, Desired, DesiredService, FileVersion, Network, Replica, Subnet, Update, Volume,
};
pub use down::{DownOptions, dependents_first, down};
pub use lower::{Image, Inputs, container, container_name, image_name, image_unresolved, lower, selection};
pub use observed::{Health, ObservedContainer, ObservedState, State};
pub use operation::Operation;
pub use plan::{Cause, Impact, NodeId, Plan, PlanNode};
pub use reconcile::{Options, patience_ms, reconcile};
pub use release::{Difference, DifferenceEntry, How, Release, diff};

#[cfg(test)]
mod tests;
