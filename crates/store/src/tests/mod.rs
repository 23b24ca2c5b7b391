//! Tests of the store as a whole.

mod crash;
mod erofs;
mod images;
mod locks;
mod records;
