//! The parameter `Tag`, which some routes take several times.

use reachability_domain::push::tag::Tag;

use crate::http::error::ApiError;
use crate::http::params::Params;

/// The parameter's name.
const TAG: &str = "Tag";

/// The tags that a request names, without repetitions. Refuses more than `limit`.
pub(super) fn tags(params: &Params, limit: usize) -> Result<Vec<Tag>, ApiError> {
    let mut tags = vec![];
    for tag in params.all(TAG) {
        let tag: Tag = tag.parse().map_err(|error| ApiError::unfit(TAG, error))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > limit {
            return Err(ApiError::invalid(TAG, format_args!("at most {limit} of them")));
        }
    }
    Ok(tags)
}

/// The tags that a registration gives to its binding. Refuses implicit ones, which do not depend on what is given.
pub(super) fn given_tags(params: &Params) -> Result<Vec<Tag>, ApiError> {
    let tags = tags(params, Tag::MAX_OF_BINDING)?;
    match tags.iter().find(|tag| tag.is_implicit()) {
        Some(tag) => Err(ApiError::unfit(TAG, format_args!("{tag} is implicit: it cannot be given"))),
        None => Ok(tags),
    }
}
