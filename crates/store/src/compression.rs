//! Compression of layers: read whatever comes, written where a layer leaves the house.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::media_type;

use crate::fault::Context as _;
use crate::{Compression, Layer, Lease, Store, codes};

/// A third of the time of zlib's default for a third more bytes: a push shall not wait for the processor.
const GZIP_LEVEL: u32 = 1;
/// Decoding takes as much memory as the window: 64 MiB here, and twice that at most is what encoders use unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Plain, gzip or zstd, told by the first bytes.
///
/// # Errors
/// `store/compression` for what can't be read.
pub fn decompress<'a>(stream: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut buffered = BufReader::with_capacity(1 << 16, stream);
    let start = buffered.fill_buf().context("read the start of", Path::new("a layer"))?;
    let unsupported = |name: &str| {
        Err(Diagnostic::error(&codes::COMPRESSION, format!("the layer is compressed with {name}"))
            .hint("decompress it, or repack it with gzip or zstd")
            .boxed())
    };
    match start {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered))),
        // A frame, or one to be skipped, as some tools put before the first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            Ok(Box::new(decoder.context("begin to decompress", Path::new("a layer"))?))
        }
        [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => unsupported("xz"),
        _ => Ok(Box::new(buffered)),
    }
}

/// The type of a layer of an OCI image, by its first four bytes.
pub(crate) fn layer_media_type(start: &[u8]) -> &'static str {
    match start {
        [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => media_type::LAYER_ZSTD,
        _ => media_type::LAYER,
    }
}

impl Store {
    /// A plain layer as a blob of its gzip, kept by `lease`. Where an image has the layer compressed already, that blob:
    /// a registry that has the one shall not be sent another.
    ///
    /// # Errors
    /// `store/not-found`; where it can't be written.
    pub fn compress(&self, lease: &Lease, layer: &Layer) -> Result<Layer> {
        for image in self.images()? {
            let same = |known: &&Layer| known.diff_id == layer.diff_id && known.blob.media_type != media_type::LAYER;
            if let Some(known) = image.layers.iter().find(same) {
                lease.add(&[known.blob.digest])?;
                if self.has_blob(&known.blob.digest) {
                    return Ok(Layer { blob: known.blob.clone(), ..layer.clone() });
                }
            }
        }
        self.recompress(lease, layer, Compression::Gzip { level: GZIP_LEVEL }, false)
    }
}
