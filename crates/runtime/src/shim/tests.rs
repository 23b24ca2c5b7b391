//! Whole shims on the real kernel: this test binary executes itself as shim, init, probe and event.

mod dns;
mod fixture;
mod life;
mod ports;
mod streams;
mod worker;
