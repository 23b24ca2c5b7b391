use std::io::{Cursor, Read as _};

use proptest::prelude::*;

use super::*;

fn write(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (member, content) in members {
        writer.append(member, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, String> {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut members = Vec::new();
    let text = |error| match error {
        TarError::Io(error) => error.to_string(),
        TarError::Malformed(reason) => reason,
    };
    while let Some(member) = reader.next().map_err(text)? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| error.to_string())?;
        members.push((member, content));
    }
    Ok(members)
}

fn file(path: &str, content: &[u8]) -> (Member, Vec<u8>) {
    let mut member = Member::new(path, Kind::File);
    member.size_bytes = content.len() as u64;
    (member, content.to_vec())
}

/// A header with a right checksum, for what the writer never writes.
fn header(path: &[u8], flag: u8, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn extension(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(b"x", flag, content.len() as u64);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().div_ceil(BLOCK) * BLOCK, 0);
    bytes
}

fn pax(text: &str) -> Vec<u8> {
    extension(b'x', text.as_bytes())
}

#[test]
fn what_does_not_fit_in_ustar_survives() {
    let mut wide = file(&"d/".repeat(200), b"");
    wide.0 = Member { kind: Kind::Symlink, link: vec![b'l'; 300], uid: 3_000_000, gid: u32::MAX, ..wide.0 };
    wide.0.mtime = Time { seconds: -2, nanoseconds: 500_000_000 };
    wide.0.xattrs = vec![(b"security.capability".to_vec(), vec![0, 1, b'\n', 255])];
    let members = vec![file("plain", b"content"), wide];
    assert_eq!(read(&write(&members)).unwrap(), members);
}

#[test]
fn plain_members_have_no_pax_header() {
    assert_eq!(write(&[file("plain", b"content")]).len(), 4 * BLOCK);
}

#[test]
fn sizes_said_twice_are_refused() {
    let archive = [pax("10 size=3\n"), header(b"f", b'0', 4), vec![0; BLOCK]].concat();
    assert_eq!(read(&archive).unwrap_err(), "`f` has two sizes, 4 and 3");
}

#[test]
fn a_size_beyond_ustar_counts_from_pax() {
    let archive = [pax("19 size=8589934592\n"), header(b"f", b'0', 0)].concat();
    assert_eq!(read(&archive).unwrap_err(), "the tar ends in the middle of a member");
}

#[test]
fn sparse_members_are_refused() {
    assert_eq!(read(&header(b"f", b'S', 0)).unwrap_err(), "`f` is a sparse member");
    let archive = [pax("22 GNU.sparse.major=1\n"), header(b"f", b'0', 0)].concat();
    assert_eq!(read(&archive).unwrap_err(), "a sparse member");
}

#[test]
fn links_with_content_are_refused() {
    let archive = [header(b"l", b'1', 512), vec![0; BLOCK]].concat();
    assert_eq!(read(&archive).unwrap_err(), "`l` has content but is no file");
}

#[test]
fn extension_headers_are_bounded() {
    let bomb = header(b"x", b'x', 1 << 33);
    assert_eq!(read(&bomb).unwrap_err(), "an extension header of 8589934592 bytes (at most 1048576)");
    assert!(read(&header(b"x", b'L', 1 << 33)).is_err());
}

#[test]
fn doubled_and_dangling_extensions_are_refused() {
    let record = "12 path=one\n";
    let member = header(b"f", b'0', 0);
    assert_eq!(
        read(&[pax(record), pax(record), member.clone()].concat()).unwrap_err(),
        "two pax headers for one member"
    );
    assert_eq!(read(&pax(record)).unwrap_err(), "it ends after an extension header");
    let both = [extension(b'L', b"two\0"), pax(record), member].concat();
    assert_eq!(read(&both).unwrap_err(), "a member has two names");
}

#[test]
fn global_headers_that_change_members_are_refused() {
    let comment = [extension(b'g', b"16 comment=text\n"), header(b"f", b'0', 0)].concat();
    assert_eq!(read(&comment).unwrap().len(), 1);
    let path = [extension(b'g', b"12 path=one\n"), header(b"f", b'0', 0)].concat();
    assert_eq!(read(&path).unwrap_err(), "a global pax header sets `path`");
}

#[test]
fn gnu_long_names_count() {
    let name = vec![b'n'; 150];
    let archive = [extension(b'L', &[name.as_slice(), b"\0"].concat()), header(b"cut", b'0', 0)].concat();
    assert_eq!(read(&archive).unwrap()[0].0.path, name);
}

#[test]
fn base_256_numbers_count() {
    let mut block = header(b"f", b'0', 0);
    block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    block[136..148].fill(0xff);
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&block);
    header.set_cksum();
    let members = read(header.as_bytes()).unwrap();
    assert_eq!((members[0].0.uid, members[0].0.mtime.seconds), (0x7fff_ffff, -1));
}

#[test]
fn damage_is_told() {
    let mut archive = write(&[file("f", b"content")]);
    archive[0] ^= 1;
    assert_eq!(read(&archive).unwrap_err(), "a header's checksum is wrong: it is no tar, or it is damaged");
    assert_eq!(read(&archive[..100]).unwrap_err(), "it ends in the middle of a header");
    let whole = write(&[file("f", b"content")]);
    assert_eq!(read(&whole[..BLOCK + 3]).unwrap_err(), "the tar ends in the middle of a member");
    let lone = [vec![0; BLOCK], whole].concat();
    assert_eq!(read(&lone).unwrap_err(), "one zero block between members");
}

#[test]
fn a_growing_or_shrinking_file_is_told() {
    let (mut member, _) = file("f", b"");
    member.size_bytes = 10;
    assert!(Writer::new(Vec::new()).append(&member, &mut &b"short"[..]).is_err());
}

fn any_member() -> impl Strategy<Value = (Member, Vec<u8>)> {
    let kinds = prop_oneof![
        Just(Kind::File),
        Just(Kind::Dir),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::Fifo),
        Just(Kind::CharDevice)
    ];
    let bytes = |length| prop::collection::vec(1_u8..=255, length);
    let time = (-1_i64 << 40..1 << 40, 0_u32..1_000_000_000);
    let xattr = ("[a-z.]{1,20}", prop::collection::vec(any::<u8>(), 0..40));
    let head = (bytes(1..300), kinds, bytes(1..300), 0_u32..0o10000);
    (
        head,
        any::<u32>(),
        any::<u32>(),
        time,
        0_u32..0o777_7777,
        prop::option::of(xattr),
        prop::collection::vec(any::<u8>(), 0..1500),
    )
        .prop_map(|((path, kind, link, mode), uid, gid, (seconds, nanoseconds), minor, xattr, content)| {
            let content = if kind == Kind::File { content } else { Vec::new() };
            let is_link = matches!(kind, Kind::Symlink | Kind::HardLink);
            let xattrs = xattr.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            let device = if kind == Kind::CharDevice { (7, minor) } else { (0, 0) };
            let member = Member {
                path,
                kind,
                link: if is_link { link } else { Vec::new() },
                mode,
                uid,
                gid,
                mtime: Time { seconds, nanoseconds },
                size_bytes: content.len() as u64,
                device,
                xattrs,
            };
            (member, content)
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in prop::collection::vec(any_member(), 0..5)) {
        prop_assert_eq!(read(&write(&members)).unwrap(), members);
    }

    #[test]
    fn other_readers_see_the_same(members in prop::collection::vec(any_member(), 0..5)) {
        // The tar crate ends a pax record at the first line feed, wherever its length says that it ends.
        let breaks = |bytes: &[u8]| bytes.contains(&b'\n');
        prop_assume!(!members.iter().any(|(member, _)| {
            breaks(&member.path) || breaks(&member.link) || member.xattrs.iter().any(|(_, value)| breaks(value))
        }));
        let archive = write(&members);
        let mut other = tar::Archive::new(archive.as_slice());
        let seen: Vec<_> = other.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path_bytes().to_vec(), content)
        }).collect();
        prop_assert_eq!(seen, members.into_iter().map(|(member, content)| (member.path, content)).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
    }

    #[test]
    fn damage_never_makes_it_panic(members in prop::collection::vec(any_member(), 1..4), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut archive = write(&members);
        for (index, value) in flips {
            let at = index.index(archive.len());
            archive[at] = value;
            // With right checksums, so that the damage is reached.
            let block = at / BLOCK * BLOCK;
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes().copy_from_slice(&archive[block..block + BLOCK]);
            header.set_cksum();
            archive[block..block + BLOCK].copy_from_slice(header.as_bytes());
        }
        let _ = read(&archive);
    }
}
