//! Gzip (RFC 1952) in pieces that know nothing of each other: as many are made at once as there are processors, and the
//! bytes follow from the content alone. What does not compress is stored, which costs next to nothing (RFC 1951 §3.2.4).

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Of the plain content. Each begins without a memory of the one before, which makes the whole 0.2 % larger.
const PIECE_BYTES: usize = 512 << 10;
/// So much at a time is either noise or not; less than a stored block can hold.
const UNIT_BYTES: usize = 32 << 10;
/// A unit's bytes are counted in runs of so many, one out of each stretch.
const RUN_BYTES: usize = 64;
const STRETCH_BYTES: usize = 4 * RUN_BYTES;
/// Several layers are compressed at once, so more threads for each would only take memory.
const THREADS_MAX: usize = 4;
/// No name, no time, no system.
const HEADER: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
const ANY_SYSTEM: u8 = 255;
/// The last block, which is empty.
const END: [u8; 2] = [3, 0];

/// The gzip of what it reads.
pub(crate) struct Gzip<R> {
    plain: R,
    level: u32,
    workers: Vec<Worker>,
    /// Which workers have a piece, in the pieces' order.
    busy: VecDeque<usize>,
    crc: Crc,
    ready: Vec<u8>,
    taken: usize,
    is_read: bool,
    is_ended: bool,
}

struct Worker {
    pieces: SyncSender<Vec<u8>>,
    packed: Receiver<Packed>,
}

struct Packed {
    bytes: Vec<u8>,
    crc: Crc,
}

impl<R: BufRead> Gzip<R> {
    pub(crate) fn new(plain: R, level: u32) -> Self {
        let level = level.min(9);
        let mut ready = HEADER.to_vec();
        ready.extend([if level == 9 { 2 } else { 4 * u8::from(level <= 1) }, ANY_SYSTEM]);
        let (workers, busy) = (Vec::new(), VecDeque::new());
        Self { plain, level, workers, busy, crc: Crc::new(), ready, taken: 0, is_read: false, is_ended: false }
    }

    /// The next piece, whole unless it is the last.
    fn piece(&mut self) -> io::Result<Vec<u8>> {
        // The first may be all there is, and small.
        let mut piece = Vec::with_capacity(if self.workers.is_empty() { 0 } else { PIECE_BYTES });
        (&mut self.plain).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        self.is_read = piece.len() < PIECE_BYTES;
        Ok(piece)
    }

    /// Gives every worker that has nothing to do a piece.
    fn feed(&mut self) -> io::Result<()> {
        while !self.is_read && self.busy.len() < self.workers.len() {
            let next = self.busy.back().map_or(0, |last| (last + 1) % self.workers.len());
            let piece = self.piece()?;
            self.workers[next].pieces.send(piece).map_err(|_| ended())?;
            self.busy.push_back(next);
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Packed> {
        if self.workers.is_empty() {
            let piece = self.piece()?;
            if self.is_read {
                return Packer::new(self.level).pack(&piece);
            }
            let count = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
            self.workers = (0..count).map(|_| Worker::start(self.level)).collect::<io::Result<_>>()?;
            self.workers[0].pieces.send(piece).map_err(|_| ended())?;
            self.busy.push_back(0);
        }
        self.feed()?;
        let first = self.busy.pop_front().ok_or_else(ended)?;
        let packed = self.workers[first].packed.recv().map_err(|_| ended())?;
        // It works on while this one is sent.
        self.feed()?;
        Ok(packed)
    }
}

fn ended() -> io::Error {
    io::Error::other("a compressing thread ended")
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() && !self.is_ended {
            if self.is_read && self.busy.is_empty() {
                self.ready.clear();
                self.ready.extend(END);
                self.ready.extend(self.crc.sum().to_le_bytes());
                self.ready.extend(self.crc.amount().to_le_bytes());
                self.is_ended = true;
            } else {
                let packed = self.next()?;
                self.crc.combine(&packed.crc);
                self.ready = packed.bytes;
            }
            self.taken = 0;
        }
        let count = buffer.len().min(self.ready.len() - self.taken);
        buffer[..count].copy_from_slice(&self.ready[self.taken..][..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Worker {
    fn start(level: u32) -> io::Result<Self> {
        let (pieces, waiting) = sync_channel::<Vec<u8>>(1);
        let (sender, packed) = sync_channel(1);
        let work = move || {
            let mut packer = Packer::new(level);
            for piece in waiting {
                // Without an answer, whoever waits for it learns that this thread has ended.
                let Ok(packed) = packer.pack(&piece) else { return };
                if sender.send(packed).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("gzip".into()).spawn(work)?;
        Ok(Self { pieces, packed })
    }
}

struct Packer {
    level: u32,
    deflate: Compress,
}

impl Packer {
    fn new(level: u32) -> Self {
        Self { level, deflate: Compress::new(Compression::new(level), false) }
    }

    /// Whole blocks of deflate that end with a byte, none of them the last.
    fn pack(&mut self, piece: &[u8]) -> io::Result<Packed> {
        let mut crc = Crc::new();
        crc.update(piece);
        let mut bytes = Vec::with_capacity(packed_bytes_max(piece.len()));
        let is_stored = |unit: &&[u8]| self.level == 0 || is_noise(unit);
        let stored: Vec<bool> = piece.chunks(UNIT_BYTES).collect::<Vec<_>>().iter().map(is_stored).collect();
        let mut rest = piece;
        for run in stored.chunk_by(|one, other| one == other) {
            let (here, after) = rest.split_at(rest.len().min(run.len() * UNIT_BYTES));
            rest = after;
            if run[0] { store(here, &mut bytes) } else { self.deflate(here, &mut bytes)? }
        }
        Ok(Packed { bytes, crc })
    }

    fn deflate(&mut self, plain: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
        self.deflate.reset();
        let start = bytes.len();
        loop {
            let taken = self.deflate.total_in() as usize;
            bytes.reserve(packed_bytes_max(plain.len()));
            self.deflate.compress_vec(&plain[taken..], bytes, FlushCompress::Sync).map_err(io::Error::other)?;
            if self.deflate.total_in() as usize == plain.len() && bytes.len() < bytes.capacity() {
                break;
            }
        }
        if bytes.len() - start > plain.len() {
            bytes.truncate(start);
            store(plain, bytes);
        }
        Ok(())
    }
}

/// More than so many bytes can become, however they are compressed.
fn packed_bytes_max(plain_bytes: usize) -> usize {
    plain_bytes + plain_bytes / 4 + 1024
}

/// As blocks that hold the bytes as they are.
fn store(plain: &[u8], bytes: &mut Vec<u8>) {
    for unit in plain.chunks(UNIT_BYTES) {
        let size = unit.len() as u16;
        bytes.push(0);
        bytes.extend(size.to_le_bytes());
        bytes.extend((!size).to_le_bytes());
        bytes.extend_from_slice(unit);
    }
}

/// Whether all bytes come about equally often: two of them are then equal hardly more often than by chance (their collision
/// entropy is above 7.9 bits), and a code for them saves less than 1.2 %. What repeats itself as a whole is passed over.
fn is_noise(unit: &[u8]) -> bool {
    // Equal bytes in a row would wait for each other in one table.
    let mut counts = [[0_u32; 256]; 4];
    let mut total = 0_u64;
    for (number, stretch) in unit.chunks_exact(STRETCH_BYTES).enumerate() {
        // Not always the same place, as records of that length would have it.
        let at = number.wrapping_mul(0x9E37_79B9) >> 16 & 3;
        for bytes in stretch[at * RUN_BYTES..][..RUN_BYTES].chunks_exact(4) {
            for (count, byte) in counts.iter_mut().zip(bytes) {
                count[usize::from(*byte)] += 1;
            }
        }
        total += RUN_BYTES as u64;
    }
    let of_byte = |byte: usize| counts.iter().map(|count| u64::from(count[byte])).sum::<u64>();
    let pairs: u64 = (0..256).map(|byte| of_byte(byte).pow(2)).sum();
    // Of few bytes nothing can be told.
    total >= 4096 && pairs * 256 <= total * total + total * total / 16 + total * 256
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u64, size: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    fn words(size: usize) -> Vec<u8> {
        (0_u32..).flat_map(|number| format!("word {} ", number / 7 * 31).into_bytes()).take(size).collect()
    }

    fn gzip(plain: &[u8], level: u32, buffer: usize) -> Vec<u8> {
        let mut packed = Vec::new();
        Gzip::new(BufReader::with_capacity(buffer, plain), level).read_to_end(&mut packed).unwrap();
        packed
    }

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(packed);
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member, and nothing after it");
        plain
    }

    fn by_gzip(packed: &[u8]) -> Vec<u8> {
        let mut child =
            Command::new("gzip").args(["-d", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(packed).unwrap());
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn every_gzip_reads_it_and_it_is_the_same_however_it_is_read() {
        let mixed = [words(700 << 10), noise(1, 600 << 10), words(100), noise(2, 40 << 10), vec![0; 3 << 20]].concat();
        for size in [0, 1, UNIT_BYTES, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, mixed.len()] {
            let plain = &mixed[..size];
            for level in [0, 1, 6, 9] {
                let packed = gzip(plain, level, 8 << 10);
                assert!(packed == gzip(plain, level, 333), "{size} {level}");
                assert!(unpacked(&packed) == plain, "{size} {level}");
            }
            assert!(by_gzip(&gzip(plain, 1, 8 << 10)) == plain, "{size}");
        }
    }

    #[test]
    fn noise_is_stored_and_nothing_else() {
        assert!(is_noise(&noise(3, UNIT_BYTES)));
        for (what, plain) in [
            ("few bytes", noise(3, 4096)),
            ("words", words(UNIT_BYTES)),
            ("zeros", vec![0; UNIT_BYTES]),
            ("seven bits", noise(3, UNIT_BYTES).iter().map(|byte| byte & 0x7f).collect()),
            ("a quarter zeros", [noise(3, UNIT_BYTES * 3 / 4), vec![0; UNIT_BYTES / 4]].concat()),
            ("records", noise(3, UNIT_BYTES / 4).chunks(64).flat_map(|run| [run, &[0; 192]].concat()).collect()),
        ] {
            assert!(!is_noise(&plain), "{what}");
        }
        let plain = noise(4, 4 << 20);
        let packed = gzip(&plain, 1, 8 << 10).len();
        assert!(packed < plain.len() + plain.len() / 1000, "{packed}");
        // Too short to be told, too even to be compressed.
        let plain = noise(5, 1000);
        assert!(gzip(&plain, 1, 8 << 10).len() <= plain.len() + 5 + 20);
    }

    #[test]
    fn what_can_t_be_read_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let whole = noise(6, 2 * PIECE_BYTES);
        let mut gzip = Gzip::new(BufReader::new(whole.as_slice().chain(Broken)), 1);
        assert_eq!(io::copy(&mut gzip, &mut io::sink()).unwrap_err().to_string(), "broken");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_is_compressed_comes_back(
            parts in prop::collection::vec((0_u8..4, any::<u64>(), 0_usize..200_000), 0..8),
            level in 0_u32..=9,
        ) {
            let plain: Vec<u8> = parts.iter().flat_map(|(kind, seed, size)| match kind {
                0 => noise(*seed, *size),
                1 => words(*size),
                2 => vec![*seed as u8; *size],
                _ => noise(*seed, *size).iter().map(|byte| byte & 15).collect(),
            }).collect();
            let packed = gzip(&plain, level, 8 << 10);
            prop_assert!(unpacked(&packed) == plain);
            prop_assert!(packed == gzip(&plain, level, 777));
        }
    }
}
