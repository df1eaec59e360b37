//! What the service counts: under our names, and under the original's for dashboards that exist.
