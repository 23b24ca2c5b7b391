//! Layers on their way out: compressed as asked for, their times clamped.

use std::io::{self, BufRead, BufReader, Read, Write};

use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest, media_type};

use crate::fault::{Context as _, fault};
use crate::gzip::Gzip;
use crate::tar::{Reader, TarError, Time, Writer};
use crate::{Layer, Lease, Snapshotter as _, Store, chain_of, decompress};

/// Layers are read and written in pieces of this size.
pub(crate) const READ_BYTES: usize = 256 << 10;

/// How the blob of a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// The same bytes for the same layer, on every machine.
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    /// The same bytes for the same layer by the same version.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl Compression {
    /// Of a layer that is compressed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => media_type::LAYER,
            Self::Gzip { .. } => media_type::LAYER_GZIP,
            Self::Zstd { .. } => media_type::LAYER_ZSTD,
        }
    }
}

/// What a plain layer is once it is compressed, made as it is read.
///
/// # Errors
/// Where the level can't be used.
pub fn compress<'a>(plain: impl BufRead + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Plain => Box::new(plain),
        Compression::Gzip { level } => Box::new(Gzip::new(plain, level)),
        Compression::Zstd { level } => Box::new(zstd::stream::read::Encoder::with_buffer(plain, level)?),
    })
}

/// As [`io::copy`], in larger pieces where `about_bytes` come.
pub(crate) fn copy_large(from: &mut dyn Read, to: &mut dyn Write, about_bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; (about_bytes as usize).clamp(512, READ_BYTES)];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Store {
    /// A layer whose blob is compressed in this way, kept by `lease`. A blob that is compressed in whatever way stays as it
    /// is unless `force`.
    ///
    /// # Errors
    /// `store/not-found`; where it can't be written.
    pub fn recompress(&self, lease: &Lease, layer: &Layer, compression: Compression, force: bool) -> Result<Layer> {
        let is_plain = layer.blob.digest == layer.diff_id;
        if (is_plain && compression == Compression::Plain) || (!is_plain && !force) {
            return Ok(layer.clone());
        }
        let plain = BufReader::with_capacity(READ_BYTES, decompress(self.blob(&layer.blob.digest)?)?);
        let mut ingest = self.ingest()?;
        compress(plain, compression)
            .and_then(|mut compressed| copy_large(&mut compressed, &mut ingest, layer.blob.size))
            .context("compress the layer below", &self.roots().data)?;
        let (digest, size_bytes) = ingest.commit(lease, None)?;
        Ok(Layer { blob: Descriptor::new(compression.media_type(), digest, size_bytes), ..layer.clone() })
    }

    /// The layer with no member later than `epoch` (seconds since 1970), unpacked on `parent` and kept by `lease`.
    ///
    /// # Errors
    /// `store/not-found`; where it can't be read or written.
    pub fn clamp_times(&self, lease: &Lease, parent: Option<&Digest>, layer: &Layer, epoch: i64) -> Result<Layer> {
        let mut reader = Reader::new(decompress(self.blob(&layer.blob.digest)?)?);
        let mut ingest = self.ingest()?;
        let mut copy = || -> io::Result<()> {
            let mut writer = Writer::new(&mut ingest);
            let broken = |error| match error {
                TarError::Io(error) => error,
                TarError::Malformed(reason) => io::Error::new(io::ErrorKind::InvalidData, reason),
            };
            while let Some(mut member) = reader.next().map_err(broken)? {
                if member.mtime.seconds >= epoch {
                    member.mtime = Time { seconds: epoch, nanoseconds: 0 };
                }
                let size_bytes = member.size_bytes;
                writer.append(&member, &mut (&mut reader).take(size_bytes))?;
            }
            writer.finish()?.flush()
        };
        copy().map_err(|error| fault("rewrite the times of a layer below", &self.roots().data, error))?;
        let (diff_id, size_bytes) = ingest.commit(lease, None)?;
        self.apply(lease, parent, &diff_id, &mut self.blob(&diff_id)?)?;
        let chain = chain_of(parent, &diff_id);
        Ok(Layer { diff_id, chain, blob: Descriptor::new(media_type::LAYER, diff_id, size_bytes) })
    }
}
