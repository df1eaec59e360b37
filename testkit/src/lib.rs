//! A broker, a bad network and a patience limit for tests.
