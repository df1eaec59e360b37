//! Typed request and reply, with deadline, no-responder and many-reply handling.
