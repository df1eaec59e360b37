//! The command as its users run it.

mod audit;
mod cell_base;
mod cell_check;
mod cell_enrol;
mod cell_init;
mod cell_permissions;
mod cell_provisioning;
mod cell_replication;
mod cell_run;
mod cell_signing;
mod cell_support;
mod client_login;
mod desk;
#[path = "../../../client/tests/it/fleet.rs"]
mod fleet;
mod jwt_cli;
mod monitoring;
mod people;
mod ping;
mod policy;
mod provision_control;
mod provision_tokens;
mod provisioner;
mod replicate;
mod replicate_admin;
mod reprovision;
mod req;
mod runs;
mod session;
mod show;
#[path = "../../../client/tests/it/signer_host.rs"]
mod signer_host;
mod trouble;
mod user;
mod vectors;
#[path = "../../../client/tests/it/web.rs"]
mod web;
