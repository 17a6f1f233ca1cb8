//! How a target takes several things out of one input. What is missing is zero: every input means something.

/// The bytes of an input that are not taken yet.
#[derive(Clone, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// The next bytes, as many as there are.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next eight bytes, little-endian.
    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Bytes behind their length (two bytes).
    pub fn piece(&mut self) -> &'a [u8] {
        let len = self.short();
        self.take(usize::from(len))
    }

    /// Records, each a kind and its bytes behind their length.
    pub fn records(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut records = Vec::new();
        while !self.is_empty() {
            let kind = self.byte();
            records.push((kind, self.piece().to_vec()));
        }
        records
    }
}

/// Appends what [`Input::piece`] reads.
///
/// # Panics
/// For more than 65,535 bytes.
pub fn put_piece(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("a short piece").to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a record as [`Input::records`] reads it.
///
/// # Panics
/// As [`put_piece`].
pub fn put_record(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    put_piece(out, bytes);
}
