//! What goes over the broker, and nothing that sends it.
