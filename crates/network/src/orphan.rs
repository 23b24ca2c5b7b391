//! What data roots have left in the kernel that were deleted without their networks.

use std::path::PathBuf;

use carrack_diag::Result;
use carrack_sys::nftables::{Table, table_comments};

use crate::fault::Context as _;
use crate::network::link_prefix;
use crate::networks::{open_filter, open_routes};
use crate::{Networks, firewall};

/// Table and links of a root that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Where the data root was.
    pub root: PathBuf,
    /// Its table.
    pub table: Table,
    /// Its bridges, and ports that are left on them.
    pub links: Vec<String>,
}

impl Orphan {
    /// What removes it, for a shell.
    pub fn removal(&self) -> String {
        let Table { family, name } = &self.table;
        let links = self.links.iter().map(|link| format!("; ip link delete {link}"));
        format!("nft delete table {} {name}{}", family.name(), links.collect::<String>())
    }
}

impl Networks {
    /// Of all roots of this host that are not there any more. Tables say whose they are; one that doesn't is left out.
    /// Changes nothing.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn orphans(&self) -> Result<Vec<Orphan>> {
        let tables = table_comments(&mut open_filter()?).context(|| "can't list the packet filter's tables".into())?;
        let gone: Vec<(Table, PathBuf)> = tables
            .into_iter()
            .filter_map(|(table, comment)| {
                let root = PathBuf::from(comment?.strip_prefix(firewall::ROOT_COMMENT)?);
                let is_gone = table.name.starts_with(firewall::TABLE_PREFIX) && !root.exists();
                is_gone.then_some((table, root))
            })
            .collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let links = open_routes()?.links().context(|| "can't list the links".into())?;
        let orphan = |(table, root): (Table, PathBuf)| {
            let prefix = link_prefix(&table.name[firewall::TABLE_PREFIX.len()..]);
            let names = links.iter().map(|link| link.name.clone());
            Orphan { root, table, links: names.filter(|name| name.starts_with(&prefix)).collect() }
        };
        Ok(gone.into_iter().map(orphan).collect())
    }
}
