//! Tests of the store as a whole.

mod crash;
mod images;
mod locks;
mod records;
