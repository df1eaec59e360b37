//! Login and signing by HTTP.
