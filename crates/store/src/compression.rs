//! Compression of layers: read whatever comes, written where a layer leaves the house.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, media_type};

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

impl Compression {
    /// Of layers that are sent to a registry where nobody asks for another.
    pub const OUTGOING: Self = Self::Gzip { level: GZIP_LEVEL };
}

impl Store {
    /// The compressed form of a plain layer that an image has already, kept by `lease`: a registry that has the one shall
    /// not be sent another.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn known_compressed(&self, lease: &Lease, layer: &Layer, compression: Compression) -> Result<Option<Layer>> {
        let wanted = compression.media_type();
        let fits =
            |kind: &str| kind == wanted || (kind == media_type::DOCKER_LAYER_GZIP && wanted == media_type::LAYER_GZIP);
        for image in self.images()? {
            let same = |known: &&Layer| known.diff_id == layer.diff_id && fits(&known.blob.media_type);
            if let Some(known) = image.layers.iter().find(same) {
                let blob = &known.blob;
                lease.add(&[blob.digest])?;
                if self.has_blob(&blob.digest) {
                    return Ok(Some(Layer { blob: Descriptor::new(wanted, blob.digest, blob.size), ..layer.clone() }));
                }
            }
        }
        Ok(None)
    }
}
