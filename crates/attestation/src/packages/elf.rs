use std::io::{Read, Seek, SeekFrom};

use super::{Package, go, rust};

/// Most sections that are looked through, and the largest table of names and section that are read, in bytes.
const SECTIONS_MAX: u64 = 4096;
const NAMES_LIMIT: u64 = 1 << 20;
const SECTION_LIMIT: u64 = 8 << 20;

/// An ELF file (System V gABI, "Object Files") that says what it was made of: Go's build information, cargo-auditable's list.
/// None for everything else, damaged ones too: an executable file may be anything.
pub(super) fn read(file: &mut (impl Read + Seek)) -> Result<Option<Vec<Package>>, String> {
    let Some(elf) = Elf::open(file) else { return Ok(None) };
    let sections = elf.sections(file).unwrap_or_default();
    let mut packages = Vec::new();
    for (name, offset, size) in sections {
        let parse = match name.as_slice() {
            b".go.buildinfo" => go::build_info,
            b".dep-v0" => rust::audit,
            _ => continue,
        };
        if size > SECTION_LIMIT {
            return Err(format!("its section {} has {size} bytes", String::from_utf8_lossy(&name)));
        }
        let section = part(file, offset, size).ok_or("it ends before what it says it holds")?;
        packages.append(&mut parse(&section)?);
    }
    Ok((!packages.is_empty()).then_some(packages))
}

struct Elf {
    is_64: bool,
    is_big: bool,
    table_offset: u64,
    entry_size: u64,
    count: u64,
    names_index: u64,
}

impl Elf {
    fn open(file: &mut (impl Read + Seek)) -> Option<Self> {
        let header = part(file, 0, 52)?;
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        let mut elf = Self {
            is_64: header[4] == 2,
            is_big: header[5] == 2,
            table_offset: 0,
            entry_size: 0,
            count: 0,
            names_index: 0,
        };
        let header = if elf.is_64 { part(file, 0, 64)? } else { header };
        let (table, sizes) = if elf.is_64 { ((40, 8), 58) } else { ((32, 4), 46) };
        elf.table_offset = elf.number(&header, table.0, table.1)?;
        elf.entry_size = elf.number(&header, sizes, 2)?;
        elf.count = elf.number(&header, sizes + 2, 2)?;
        elf.names_index = elf.number(&header, sizes + 4, 2)?;
        let least = if elf.is_64 { 64 } else { 40 };
        let is_whole = elf.table_offset != 0 && elf.entry_size >= least && elf.count <= SECTIONS_MAX;
        is_whole.then_some(elf)
    }

    fn number(&self, bytes: &[u8], at: usize, width: usize) -> Option<u64> {
        let field = bytes.get(at..at + width)?;
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_big { field.iter().fold(0, fold) } else { field.iter().rev().fold(0, fold) })
    }

    /// Names with offset and size in the file.
    fn sections(&self, file: &mut (impl Read + Seek)) -> Option<Vec<(Vec<u8>, u64, u64)>> {
        let table = part(file, self.table_offset, self.entry_size.checked_mul(self.count)?)?;
        let (offset, size, width) = if self.is_64 { (24, 32, 8) } else { (16, 20, 4) };
        let mut headers = Vec::new();
        for entry in table.chunks_exact(usize::try_from(self.entry_size).ok()?) {
            let name = usize::try_from(self.number(entry, 0, 4)?).ok()?;
            headers.push((name, self.number(entry, offset, width)?, self.number(entry, size, width)?));
        }
        let (_, offset, size) = *headers.get(usize::try_from(self.names_index).ok()?)?;
        let names = part(file, offset, Some(size).filter(|size| *size <= NAMES_LIMIT)?)?;
        let name = |at: usize| names.get(at..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        Some(headers.into_iter().map(|(at, offset, size)| (name(at).to_vec(), offset, size)).collect())
    }
}

/// Exactly these bytes; none where the file is shorter. Not more memory than the file has bytes.
fn part(file: &mut (impl Read + Seek), offset: u64, size: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}
