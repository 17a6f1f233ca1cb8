//! How content is cut, checked and named (R17): the one place where digests are computed.

use crate::ids::{Digest, DigestKind};
use crate::limits::{BLOCK, CHUNK};
use crc_fast::{CrcAlgorithm, checksum};
use sha2::{Digest as _, Sha256};

/// CRC-64/NVME of `bytes`.
pub fn crc64(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// CRC-64/NVME of a concatenation, from those of its parts; `len` is the length of the second.
///
/// The first is moved on by `len` bytes: multiplied by x^(8·len) modulo the polynomial, as zlib's
/// `crc32_combine` does. The library's own combination takes 40 µs, as long as checking 1 MiB; this is made
/// for each block of an upload.
pub fn crc64_concat(first: u64, second: u64, len: u64) -> u64 {
    multiply(power_of_x8(len), first) ^ second
}

/// The polynomial of CRC-64/NVME, bits reflected: the highest bit is x^0.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;

/// x^(2^n) for each n.
const SQUARES: [u64; 64] = {
    let mut squares = [0; 64];
    squares[0] = 1 << 62;
    let mut n = 1;
    while n < 64 {
        squares[n] = multiply(squares[n - 1], squares[n - 1]);
        n += 1;
    }
    squares
};

/// a · b modulo the polynomial.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = 64;
    while bit > 0 {
        bit -= 1;
        // All ones where the bit is set: no branch to guess wrong.
        product ^= b & ((a >> bit) & 1).wrapping_neg();
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}

/// x^(8·len) modulo the polynomial.
fn power_of_x8(mut len: u64) -> u64 {
    let mut power = 1 << 63;
    let mut n = 3;
    while len > 0 {
        if len & 1 == 1 {
            power = multiply(SQUARES[n % 64], power);
        }
        len >>= 1;
        n += 1;
    }
    power
}

/// CRC-64/NVME of each block of `bytes`; the last block may be shorter.
pub fn block_crcs(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(BLOCK).map(crc64).collect()
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Computes the digest of a content, and those of its chunks, from its bytes in order, in pieces of any size.
#[derive(Clone, Default)]
pub struct Digester {
    chunk: Sha256,
    in_chunk: usize,
    done: Vec<[u8; 32]>,
}

impl Digester {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.in_chunk));
            self.chunk.update(now);
            self.in_chunk += now.len();
            if self.in_chunk == CHUNK {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    fn end_chunk(&mut self) {
        self.done.push(std::mem::take(&mut self.chunk).finalize().into());
        self.in_chunk = 0;
    }

    /// Bytes taken, from the start; a chunk that was told counts whole.
    pub fn taken(&self) -> u64 {
        (self.done.len() * CHUNK + self.in_chunk) as u64
    }

    /// The digests of the chunks that are complete.
    pub fn done(&self) -> &[[u8; 32]] {
        &self.done
    }

    /// Takes digests of chunks that somebody else computed, from chunk `from` on. What is known is passed over, what
    /// would leave a gap is not taken.
    pub fn tell(&mut self, from: usize, digests: impl IntoIterator<Item = [u8; 32]>) {
        for (index, digest) in (from..).zip(digests) {
            if index == self.done.len() {
                self.done.push(digest);
                (self.chunk, self.in_chunk) = (Sha256::new(), 0);
            }
        }
    }

    /// The digests of all chunks. The empty content has one empty chunk.
    pub fn chunks(mut self) -> Vec<[u8; 32]> {
        if self.in_chunk > 0 || self.done.is_empty() {
            self.end_chunk();
        }
        self.done
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        of_chunks(&self.chunks())
    }
}

/// The digest of a content from those of its chunks, cut at multiples of the chunk size. At least one
/// chunk; the empty content has one empty chunk.
pub fn of_chunks(chunks: &[[u8; 32]]) -> Digest {
    match chunks {
        [] => Digest { kind: DigestKind::Plain, sha256: sha256(&[]) },
        [one] => Digest { kind: DigestKind::Plain, sha256: *one },
        many => {
            let mut tree = Sha256::new();
            many.iter().for_each(|chunk| tree.update(chunk));
            Digest { kind: DigestKind::Tree, sha256: tree.finalize().into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_content_up_to_one_chunk_has_the_digest_that_sha256sum_prints() {
        let bytes = vec![7; CHUNK];
        let mut digester = Digester::default();
        digester.update(&bytes);
        assert_eq!(digester.finish(), Digest { kind: DigestKind::Plain, sha256: sha256(&bytes) });
        let empty = Digester::default().finish().to_string();
        assert_eq!(empty, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_longer_content_has_the_tree_digest_of_its_chunks() {
        let bytes = vec![7; CHUNK + 1];
        let mut digester = Digester::default();
        digester.update(&bytes);
        assert_eq!(digester.finish(), of_chunks(&[sha256(&bytes[..CHUNK]), sha256(&bytes[CHUNK..])]));
    }

    #[test]
    fn chunks_that_were_told_count_as_if_they_had_been_hashed() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|at| (at % 251) as u8).collect();
        let mut all = Digester::default();
        all.update(&bytes);
        let known = all.clone().chunks();
        let mut told = Digester::default();
        told.update(&bytes[..9]);
        told.tell(1, [known[1]]);
        assert_eq!(told.taken(), 9, "a gap is not taken");
        told.tell(0, known[..2].iter().copied());
        told.tell(1, [[7; 32]]);
        assert_eq!(told.taken(), 2 * CHUNK as u64);
        told.update(&bytes[2 * CHUNK..]);
        assert_eq!(told.done(), &known[..3]);
        assert_eq!((told.clone().chunks(), told.finish()), (known, all.finish()));
    }

    proptest! {
        #[test]
        fn the_crc_of_a_whole_comes_from_its_parts(a: Vec<u8>, b: Vec<u8>, zeros in 0usize..200_000) {
            let b = [b, vec![0; zeros]].concat();
            let whole = [a.clone(), b.clone()].concat();
            prop_assert_eq!(crc64_concat(crc64(&a), crc64(&b), b.len() as u64), crc64(&whole));
        }
    }
}
