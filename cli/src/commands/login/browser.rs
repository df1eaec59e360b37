//! A login in the browser of this machine.

use overlay_client::login::LoginClient;
use overlay_protocol::signing::login::Method;

use super::Args;
use crate::app::App;
use crate::error::Failure;

pub(super) async fn run(
    client: &mut LoginClient,
    method: &Method,
    _args: &Args,
    _app: &App,
) -> Result<String, Failure> {
    client.begin(method, "").await?;
    Err(Failure::new("logins in a browser are not built yet"))
}
