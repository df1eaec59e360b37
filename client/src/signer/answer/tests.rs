//! What a signer may answer, and what it may not.
