//! What the Linux kernel offers and neither the standard library nor rustix do safely: births of processes into
//! namespaces and control groups, mounts' attributes, system call filters, device programs, netlink. Thin and typed: one
//! function a system call, errors as the kernel's errno.
//!
//! This crate never decides anything, and no other crate of the workspace has unsafe code.

/// BPF programs for the devices of a control group (v2).
pub mod bpf;
/// Connections that the kernel tracks.
pub mod conntrack;
/// Datagrams with the address that they were sent to.
pub mod datagram;
mod entry;
/// Opening below a folder, and writing back what the kernel holds of a file.
pub mod file;
/// Loopback interface of a network namespace.
pub mod link;
/// Mount attributes.
pub mod mount;
/// Links, addresses and routes, and the transport that the packet filter shares.
pub mod netlink;
/// The packet filter, without the `nft` program.
pub mod nftables;
/// Detached mounts of new file systems, overlays among them.
pub mod overlay;
/// Ends of processes that are not ours.
pub mod pidfd;
/// Births, deaths and images of processes.
pub mod process;
/// System call filters.
pub mod seccomp;
/// Signal dispositions, masks and descriptors.
pub mod signal;

#[cfg(test)]
mod tests;
