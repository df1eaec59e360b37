//! Enrols new nodes: finds them, judges them, asks the helper, issues their token, configures and restarts them.
