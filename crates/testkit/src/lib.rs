//! What tests are made of: tars and images, well-formed and hostile, root file systems, hosts' networks.
//!
//! This crate never takes part in a build of the product: it is a dependency of tests only.

pub mod fuzz;
pub mod host;
pub mod image;
pub mod registry;
pub mod tar;
