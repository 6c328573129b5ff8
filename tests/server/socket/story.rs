//! What both of our clients play: a server that is restarted under them, and a network that fails.

use reachability_tests::client::Client;
use reachability_tests::relay::Relay;

use super::{Setup, create};

/// Who leaves says goodbye, and who comes back after a restart was never gone.
pub(super) const ARGUMENTS: [&str; 4] = ["--grace-seconds", "3600", "--restart-grace-seconds", "3600"];

/// Who is silent is soon offline, but not who comes back at once. After a restart there is a little more time, and for as long the
/// connections of the run before are there as well.
pub(super) const WITH_FAULTS: [&str; 6] =
    ["--ping-seconds", "2", "--grace-seconds", "5", "--restart-grace-seconds", "15"];

/// A server behind a relay, with users who were never online.
pub(super) async fn begin(arguments: &[&str]) -> (Setup, Relay) {
    let setup = Setup::new(arguments).await;
    create(&setup, &["jane", "john", "jack", "joe"]).await;
    let relay = Relay::start(&setup.server.url).await;
    (setup, relay)
}

/// Has the relay connect clients to the server's next run, where they missed a change of john's.
pub(super) async fn go_on(setup: &mut Setup, relay: &Relay) {
    setup.client = Client::of(&setup.server);
    setup.client.post(&format!("/v1/Services/{}/Presence/john", setup.service), "Status=Missed").await;
    relay.retarget(&setup.server.url);
}
