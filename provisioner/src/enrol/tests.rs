//! Enrolments against a world of our own: one node, one helper, one store, all without a broker.

mod flow;
mod names;
mod node;
mod properties;
mod refusals;
mod world;

use world::World;
