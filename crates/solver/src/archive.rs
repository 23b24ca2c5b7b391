//! What a file is to `ADD`, told by its content.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use carrack_diag::{Diagnostic, Result};

use crate::codes;

/// For xz, whose dictionary is as large as its maker wished: the largest of its presets, and what goes with it. In KiB.
const XZ_MEMORY_KIB: u32 = 80 << 10;

/// Whether a file is a tar, plain or compressed in a way that is known here. It stands at its start afterwards.
pub(crate) fn is_archive(file: &mut File) -> io::Result<bool> {
    let mut header = Vec::new();
    // What can't be decompressed is no archive, and copied as it is.
    let readable = decompress(&mut *file).is_ok_and(|stream| stream.take(512).read_to_end(&mut header).is_ok());
    file.rewind()?;
    Ok(readable && is_tar(&header))
}

/// Plain, gzip, bzip2, xz or zstd, told by the first bytes.
pub(crate) fn decompress<'a>(stream: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let failed = |error: io::Error| {
        let diagnostic = Diagnostic::error(&codes::COPY_FAILED, "the archive cannot be decompressed");
        diagnostic.cause(error.to_string()).hint("make or fetch it again").boxed()
    };
    let mut buffered = io::BufReader::with_capacity(1 << 16, stream);
    let start = io::BufRead::fill_buf(&mut buffered).map_err(failed)?;
    Ok(match start {
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(buffered, true, XZ_MEMORY_KIB))
        }
        _ => return carrack_store::decompress(buffered),
    })
}

/// Whether a block's checksum is that of a tar header (POSIX.1 pax, "ustar Interchange Format").
pub(crate) fn is_tar(header: &[u8]) -> bool {
    if header.len() < 512 {
        return false;
    }
    let digits =
        header[148..156].iter().skip_while(|byte| **byte == b' ').take_while(|byte| (b'0'..=b'7').contains(byte));
    let said = digits.fold(0_u64, |sum, digit| sum * 8 + u64::from(digit - b'0'));
    let field = 148..156;
    let sum = header.iter().enumerate().map(|(index, byte)| if field.contains(&index) { 32 } else { u64::from(*byte) });
    said != 0 && sum.sum::<u64>() == said
}
