//! The parameters of queries, `Filter` and `Sort`, and why queries are refused.

use reachability_domain::query::fields::Kind;
use reachability_domain::query::{InvalidQuery, Query};
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::paging::CursorListing;
use crate::http::params::Params;
use crate::use_cases::scan::QueryError;

impl From<InvalidQuery> for ApiError {
    fn from(error: InvalidQuery) -> Self {
        let parameter = match error {
            InvalidQuery::Filter(_) => "Filter",
            InvalidQuery::Sort(_) => "Sort",
            InvalidQuery::Cursor(_) => "PageToken",
        };
        Self::unfit(parameter, error)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::TooBroad => Self::unfit("Filter", error),
            QueryError::Cursor(error) => InvalidQuery::Cursor(error).into(),
            QueryError::Store(error) => error.into(),
        }
    }
}

/// A parameter with JSON; `null` if it is not given, or empty.
pub(super) fn json(params: &Params, name: &str) -> Result<Value, ApiError> {
    match params.get(name) {
        None | Some("") => Ok(Value::Null),
        Some(text) => serde_json::from_str(text).map_err(|_| ApiError::invalid(name, "JSON")),
    }
}

/// The query of a page with this filter, in the order of `Sort`.
pub(super) fn query(
    kind: Kind,
    filter: &Value,
    params: &Params,
    listing: &CursorListing<'_>,
) -> Result<Query, ApiError> {
    Ok(Query::parse(kind, filter, &json(params, "Sort")?, listing.page_size, listing.token)?)
}
