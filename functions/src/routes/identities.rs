//! The parameter `Identity`, which some routes take several times.

use std::collections::HashSet;

use reachability_domain::identity::Identity;

use crate::http::error::ApiError;
use crate::http::params::Params;

/// How many identities a request may name, unless a route has another limit. The limit is ours, not the vendor's.
const MAX_IDENTITIES: usize = 100;

/// The identities that a request names, without repetitions.
pub(super) fn identities(params: &Params) -> Result<Vec<Identity>, ApiError> {
    identities_up_to(MAX_IDENTITIES, params)
}

/// The same, with this limit.
pub(super) fn identities_up_to(limit: usize, params: &Params) -> Result<Vec<Identity>, ApiError> {
    let (mut identities, mut known) = (vec![], HashSet::new());
    for text in params.all("Identity") {
        let identity: Identity = text.parse()?;
        if known.insert(text) {
            identities.push(identity);
        }
        if identities.len() > limit {
            return Err(ApiError::invalid("Identity", format_args!("at most {limit} of them")));
        }
    }
    Ok(identities)
}
