//! Lists whose pages begin where a cursor says. They are read forward only.

use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Meta, PageBody, page_size};
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::params::Params;

/// The page that a request asks for.
#[derive(Debug)]
pub(crate) struct CursorListing<'a> {
    /// How many items the page has at most.
    pub(crate) page_size: usize,
    /// Where the page begins; `None` at the beginning of the list.
    pub(crate) token: Option<&'a str>,
    /// The page's number: the client counts, and the answer repeats it.
    number: u64,
    /// The parameters that the URLs of the other pages repeat, encoded and with `&` before each.
    filters: String,
}

impl<'a> CursorListing<'a> {
    /// Reads `PageSize`, `Page` and `PageToken`. The URLs of other pages repeat those of these parameters that are given.
    pub(crate) fn of(query: &'a Params, max_size: usize, repeated: &[&str]) -> Result<Self, ApiError> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let values = repeated.iter().flat_map(|name| query.all(name).map(move |value| (name, value)));
        Ok(Self {
            page_size: page_size(query, max_size)?,
            token: query.get("PageToken").filter(|token| !token.is_empty()),
            number: query.get("Page").and_then(|number| number.parse().ok()).unwrap_or(0),
            filters: values.map(|(name, value)| format!("&{name}={}", encode(value))).collect(),
        })
    }

    /// Renders a page of a list at this path. `next` is the token of the page after it, if there is one.
    pub(crate) fn show(
        &self,
        base_url: &str,
        path: &str,
        key: &str,
        items: Vec<impl Serialize>,
        next: Option<&str>,
    ) -> Response {
        let link = |number: u64, token: Option<&str>| {
            let token = token.map(|token| format!("&PageToken={}", utf8_percent_encode(token, NON_ALPHANUMERIC)));
            let (size, filters) = (self.page_size, &self.filters);
            format!("{base_url}{path}?PageSize={size}&Page={number}{}{filters}", token.unwrap_or_default())
        };
        let meta = Meta {
            page: self.number,
            page_size: self.page_size,
            first_page_url: link(0, None),
            previous_page_url: None,
            url: link(self.number, self.token),
            next_page_url: next.map(|token| link(self.number.saturating_add(1), Some(token))),
            key,
        };
        Json(PageBody { meta, items }).into_response()
    }
}
