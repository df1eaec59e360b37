//! Memory for argon2id that is used again.
//!
//! To ask the system for 19 MiB at each comparison costs a fifth of the hash, and allocators keep what each thread gave back:
//! half a GiB was seen. Here as many pieces are kept as comparisons ever ran at once.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::Block;

/// Longest piece that is kept, in blocks of 1 KiB: what `overlay user` gives to new passwords takes 19 of these 32 MiB.
const KEPT: usize = 32 * 1024;

/// Pieces that nobody uses at the moment; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks(Arc<Mutex<Vec<Vec<Block>>>>);

impl Blocks {
    /// Lends `count` blocks, with whatever they were left with.
    pub(super) fn lend<T>(&self, count: usize, work: impl FnOnce(&mut [Block]) -> T) -> T {
        let mut piece = self.take().unwrap_or_default();
        if piece.len() < count {
            // Nothing of the old one is of use: not to copy it.
            drop(piece);
            piece = vec![Block::new(); count];
        }
        let result = work(piece.get_mut(..count).unwrap_or_default());
        if piece.len() <= KEPT {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(piece);
        }
        result
    }

    fn take(&self) -> Option<Vec<Block>> {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_used_again_unless_it_is_too_short_or_too_long_to_keep() {
        let blocks = Blocks::default();
        let kept = || {
            let pieces = blocks.0.lock().unwrap();
            pieces.iter().map(Vec::len).collect::<Vec<_>>()
        };
        let place = |count| blocks.lend(count, |blocks| (blocks.len(), blocks.as_ptr().addr()));
        let (count, first) = place(64);
        assert_eq!((count, kept()), (64, vec![64]));
        assert_eq!((place(32), kept()), ((32, first), vec![64]));
        assert_eq!((place(128).0, kept()), (128, vec![128]));
        blocks.lend(16, |_one| blocks.lend(16, |_other| ()));
        assert_eq!(kept().len(), 2);
        place(KEPT + 1);
        assert_eq!(kept().len(), 1);
    }
}
