//! Tables, with comments as `nft` writes and shows them.

use rustix::io::Result;

use super::{Batch, Socket, TABLE_NAME, Table, attribute, list, request, string};

const TABLE_USER_DATA: u16 = 6;

/// What user data holds at most; `nft` shows a comment of half of it.
const USER_DATA_BYTES: usize = 256;

impl Batch {
    /// Makes a table unless it is there.
    pub fn add_table(&mut self, table: &Table) -> &mut Self {
        self.push(libc::NFT_MSG_NEWTABLE, table, libc::NLM_F_CREATE).text(TABLE_NAME, &table.name);
        self
    }

    /// Removes a table with all that is in it.
    pub fn delete_table(&mut self, table: &Table) -> &mut Self {
        self.push(libc::NFT_MSG_DELTABLE, table, 0).text(TABLE_NAME, &table.name);
        self
    }

    /// Makes a table unless it is there, with a comment that `nft` shows, as far as there is room for it.
    pub fn add_table_with_comment(&mut self, table: &Table, comment: &str) -> &mut Self {
        let length = u8::try_from(comment.len() + 1).ok().filter(|length| usize::from(*length) + 2 < USER_DATA_BYTES);
        let message = self.push(libc::NFT_MSG_NEWTABLE, table, libc::NLM_F_CREATE).text(TABLE_NAME, &table.name);
        if let Some(length) = length {
            // Type 0 of `nft`'s user data: a comment, with its terminating zero.
            message.attribute(TABLE_USER_DATA, &[&[0, length], comment.as_bytes(), &[0]].concat());
        }
        self
    }
}

/// All tables of the namespace with their comments.
pub fn table_comments(socket: &mut Socket) -> Result<Vec<(Table, Option<String>)>> {
    list(socket, &request(libc::NFT_MSG_GETTABLE, 0, libc::NLM_F_DUMP), |family, body| {
        let comment = attribute(body, TABLE_USER_DATA).and_then(|data| match data {
            [0, length, text @ ..] => text.get(..usize::from(*length)).map(string),
            _ => None,
        });
        Some((Table { family, name: string(attribute(body, TABLE_NAME)?) }, comment))
    })
}

/// All tables of the namespace.
pub fn tables(socket: &mut Socket) -> Result<Vec<Table>> {
    list(socket, &request(libc::NFT_MSG_GETTABLE, 0, libc::NLM_F_DUMP), |family, body| {
        Some(Table { family, name: string(attribute(body, TABLE_NAME)?) })
    })
}
