//! From a wanted state and an observed one to a plan: the steps between them, each with its reason, and the
//! releases that a project's history is made of.
//!
//! This crate never looks at the machine and never changes it: states come in as values, plans go out as values.

mod compare;
mod desired;
pub mod label;
mod observed;
mod operation;
mod plan;
mod release;

pub use compare::Change;
pub use desired::{
    Condition, Dependency, Desired, DesiredService, FileVersion, Network, Replica, Subnet, Update, Volume,
};
pub use observed::{Health, ObservedContainer, ObservedState, State};
pub use operation::Operation;
pub use plan::{Cause, Impact, NodeId, Plan, PlanNode};
pub use release::{Difference, DifferenceEntry, How, Release, diff};
