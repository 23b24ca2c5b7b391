//! Scenarios through the real binary: what a person types, what the kernel and the disk then hold, and last what was
//! printed. Every test has a machine of its own (two roots in a scratch folder) and leaves nothing behind, which
//! `doctor --leaks` and the folders themselves confirm.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod attestations;
mod bake;
mod build;
mod builder;
mod caches;
mod connecting;
mod containers;
mod contents;
mod contexts;
mod copying;
mod debugging;
mod doctor;
mod events;
mod formats;
mod health;
mod hostile;
mod interruption;
mod isolation;
mod layers;
mod logs;
mod machine;
mod many;
mod mounting;
mod networks;
mod objects;
mod outputs;
mod platforms;
mod prune;
mod reach;
mod registries;
mod replacing;
mod restarts;
mod runtimes;
mod shims;
mod soak;
mod stacks;
mod storms;
mod streams;
mod systemd;
mod under_fire;
mod using;
mod verbs;
mod weak_places;
