//! The parameter `Identity`, which some routes take several times.

use reachability_domain::identity::Identity;

use crate::http::error::ApiError;
use crate::http::params::Params;

/// How many identities a request may name. The limit is ours, not the vendor's.
const MAX_IDENTITIES: usize = 100;

/// The identities that a request names, without repetitions.
pub(super) fn identities(params: &Params) -> Result<Vec<Identity>, ApiError> {
    let mut identities = vec![];
    for identity in params.all("Identity") {
        let identity: Identity = identity.parse()?;
        if !identities.contains(&identity) {
            identities.push(identity);
        }
        if identities.len() > MAX_IDENTITIES {
            return Err(ApiError::invalid("Identity", format_args!("at most {MAX_IDENTITIES} of them")));
        }
    }
    Ok(identities)
}
