//! Settings of who connects, and of what those may do who did not say yet who they are.

use std::num::NonZeroU32;

use clap::Args;
use ipnet::IpNet;

use crate::proxies::{self, TrustedProxies};

/// Who connects.
#[derive(Debug, Args)]
pub(crate) struct ClientSettings {
    /// Addresses of your proxies, alone or as networks such as 10.0.0.0/8, with commas between them: a client's address is then
    /// the last one in `X-Forwarded-For` that is none of these
    #[arg(long, env = "REACHABILITY_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',',
          value_parser = proxies::network)]
    trusted_proxies: Vec<IpNet>,

    /// How many connections from one address may be open on which no request was authenticated, and at most a quarter of all;
    /// of more, the oldest is closed. 0 for as many as there may be in all
    #[arg(
        long,
        env = "REACHABILITY_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "COUNT",
        default_value_t = 1_024,
        allow_negative_numbers = true
    )]
    pub(crate) max_connections_per_address: u32,

    /// How many wrong passwords and access tokens from one address a minute are answered as such. More are answered with 429,
    /// right ones never are; 0 for all
    #[arg(
        long,
        env = "REACHABILITY_MAX_FAILED_AUTHENTICATIONS",
        value_name = "COUNT",
        default_value_t = 60,
        allow_negative_numbers = true
    )]
    max_failed_authentications: u32,
}

impl ClientSettings {
    pub(crate) fn proxies(&self) -> TrustedProxies {
        TrustedProxies::new(self.trusted_proxies.clone())
    }

    pub(crate) fn failed_authentications_per_minute(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.max_failed_authentications)
    }
}
