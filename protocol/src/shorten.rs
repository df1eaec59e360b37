//! Cuts texts that others may have said at length.

/// Shortens a text to at most `bytes` bytes, between characters.
pub(crate) fn shorten(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
}

/// Cuts a text to at most `bytes` bytes, between characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes))
        .unwrap_or_default()
}
