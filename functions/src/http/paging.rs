//! Lists in pages. The vendor's helper libraries get from page to page by absolute URLs, which they follow unchanged.

mod cursor;

use axum::response::{IntoResponse, Response};
use reachability_domain::paging::{Cursor, Page, PageRequest};
use reachability_domain::sid::Sid;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub(crate) use self::cursor::CursorListing;
use crate::http::error::ApiError;
use crate::http::json::Json;
use crate::http::params::Params;

/// The size of a page if the request does not give one.
const DEFAULT_PAGE_SIZE: usize = 50;

/// The page that a request asks for.
#[derive(Debug)]
pub(crate) struct Listing<K> {
    /// Where the page begins or ends, and its size.
    pub(crate) request: PageRequest<K>,
    /// The page's number: the client counts, and the answer repeats it.
    number: u64,
    /// The parameters that the URLs of the other pages repeat, encoded and with `&` before each.
    filters: String,
}

/// The links from a page to the others: paths with queries.
pub(crate) struct Links {
    pub(crate) first: String,
    pub(crate) previous: Option<String>,
    pub(crate) this: String,
    pub(crate) next: Option<String>,
}

impl<K: Sid> Listing<K> {
    /// Reads `PageSize`, `Page` and `PageToken`.
    pub(crate) fn of(query: &Params, max_size: usize) -> Result<Self, ApiError> {
        let limit = page_size(query, max_size)?;
        let position = match query.get("PageToken") {
            None | Some("") => Cursor::Start,
            Some(token) => parse_token(token).ok_or_else(|| ApiError::invalid("PageToken", "one from another page"))?,
        };
        Ok(Self {
            request: PageRequest { position, limit },
            number: query.get("Page").and_then(|number| number.parse().ok()).unwrap_or(0),
            filters: String::new(),
        })
    }

    /// Sets the parameters that the URLs of the other pages repeat.
    pub(crate) fn with_filters(self, filters: String) -> Self {
        Self { filters, ..self }
    }

    /// The links of `page`, for a list at this path. `sid` returns an item's sid.
    pub(crate) fn links<T>(&self, path: &str, page: &Page<T>, sid: impl Fn(&T) -> K) -> Links {
        let link = |number: u64, token: Option<String>| {
            let token = token.map(|token| format!("&PageToken={token}")).unwrap_or_default();
            format!("{path}?PageSize={}&Page={number}{token}{}", self.request.limit, self.filters)
        };
        // If all items of the page were deleted, the other pages begin at the sid from the token.
        let (has_previous, has_next, boundary) = match self.request.position {
            Cursor::Start => (false, page.more, None),
            Cursor::After(sid) => (true, page.more, Some(sid)),
            Cursor::Before(sid) => (page.more, true, Some(sid)),
        };
        let looked_up_to = page.looked_up_to.map(K::from_bits);
        let (looked_before, looked_after) = match self.request.position {
            Cursor::Before(_) => (looked_up_to, None),
            Cursor::Start | Cursor::After(_) => (None, looked_up_to),
        };
        let first = looked_before.or_else(|| page.items.first().map(&sid)).or(boundary);
        let last = looked_after.or_else(|| page.items.last().map(&sid)).or(boundary);
        let token = match self.request.position {
            Cursor::Start => None,
            Cursor::After(sid) => Some(format!("PT{sid}")),
            Cursor::Before(sid) => Some(format!("PB{sid}")),
        };
        Links {
            first: link(0, None),
            previous: first
                .filter(|_| has_previous)
                .map(|sid| link(self.number.saturating_sub(1), Some(format!("PB{sid}")))),
            this: link(self.number, token),
            next: last.filter(|_| has_next).map(|sid| link(self.number.saturating_add(1), Some(format!("PT{sid}")))),
        }
    }

    /// The page's number, which the client counts.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Renders a list at this path that is always empty.
    pub(crate) fn show_empty(&self, base_url: &str, path: &str, key: &str) -> Response {
        self.show(base_url, path, key, &Page::<K>::EMPTY, |sid| *sid, Vec::<()>::new())
    }

    /// Renders `page`, for a list at this path. `items` are its items as the answer shows them.
    pub(crate) fn show<T>(
        &self,
        base_url: &str,
        path: &str,
        key: &str,
        page: &Page<T>,
        sid: impl Fn(&T) -> K,
        items: Vec<impl Serialize>,
    ) -> Response {
        let absolute = |link: String| format!("{base_url}{link}");
        let links = self.links(path, page, sid);
        let meta = Meta {
            page: self.number,
            page_size: self.request.limit,
            first_page_url: absolute(links.first),
            previous_page_url: links.previous.map(absolute),
            url: absolute(links.this),
            next_page_url: links.next.map(absolute),
            key,
        };
        Json(PageBody { meta, items }).into_response()
    }
}

struct PageBody<'a, I> {
    meta: Meta<'a>,
    items: Vec<I>,
}

#[derive(Serialize)]
struct Meta<'a> {
    page: u64,
    page_size: usize,
    first_page_url: String,
    previous_page_url: Option<String>,
    url: String,
    next_page_url: Option<String>,
    /// The name of the member that has the items.
    key: &'a str,
}

impl<I: Serialize> Serialize for PageBody<'_, I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(Some(2))?;
        body.serialize_entry("meta", &self.meta)?;
        body.serialize_entry(self.meta.key, &self.items)?;
        body.end()
    }
}

/// The size of a page, from `PageSize`. A size over the limit, however large, counts as the limit, since clients send the
/// number of items that they want in total as the size of a page.
pub(crate) fn page_size(query: &Params, max_size: usize) -> Result<usize, ApiError> {
    let size = match query.get("PageSize") {
        None | Some("") => DEFAULT_PAGE_SIZE,
        Some(text) => parse_size(text).ok_or_else(|| ApiError::invalid("PageSize", "a whole number"))?,
    };
    Ok(size.min(max_size))
}

/// Parses a whole number of any length: at least 1, and [`usize::MAX`] for one that is larger. `None` for another text.
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.trim_start_matches(['-', '+']);
    let is_number =
        text.len() <= digits.len() + 1 && !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| if text.starts_with('-') { 1 } else { digits.parse().unwrap_or(usize::MAX).max(1) })
}

/// Parses a token. `PT` and a sid, as the vendor writes it: the page begins after the sid. `PB` and a sid: it ends
/// before the sid.
fn parse_token<K: Sid>(token: &str) -> Option<Cursor<K>> {
    let (direction, sid) = token.split_at_checked(2)?;
    let sid = sid.parse().ok()?;
    match direction {
        "PT" => Some(Cursor::After(sid)),
        "PB" => Some(Cursor::Before(sid)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that looks for few items among many others stops before it has found a page of them.
    #[test]
    fn a_short_page_has_a_link_to_where_the_store_stopped() {
        use reachability_domain::sid::UserSid;
        let sid = UserSid::from_bits;
        let links = |position, items: &[UserSid], more| {
            let request = PageRequest { position, limit: 3 };
            let listing = Listing { request, number: 1, filters: "&Tag=x".to_owned() };
            listing.links("/Users", &Page { items: items.to_vec(), more, looked_up_to: Some(7) }, |sid| *sid)
        };
        let link =
            |number, token, at| Some(format!("/Users?PageSize=3&Page={number}&PageToken={token}{}&Tag=x", sid(at)));
        for position in [Cursor::Start, Cursor::After(sid(1))] {
            assert_eq!(links(position, &[], true).next, link(2, "PT", 7), "{position:?}");
            assert_eq!(links(position, &[sid(3)], true).next, link(2, "PT", 7), "{position:?}");
        }
        assert_eq!(links(Cursor::After(sid(1)), &[sid(3)], true).previous, link(0, "PB", 3));
        let before = links(Cursor::Before(sid(9)), &[sid(8)], true);
        assert_eq!((before.previous, before.next), (link(0, "PB", 7), link(2, "PT", 8)));
    }

    #[test]
    fn a_page_size_is_a_whole_number_of_any_length() {
        let huge = "9".repeat(100);
        for (text, size) in [
            ("1", 1),
            ("+7", 7),
            ("0", 1),
            ("-0", 1),
            ("0050", 50),
            ("-9223372036854775809", 1),
            ("18446744073709551615", usize::MAX),
            ("18446744073709551616", usize::MAX),
            (&huge, usize::MAX),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in ["", "-", "+", "--1", "-+1", "1x", "1.5", "1e3", " 1", "0x10", "٣", &format!("{huge}x")] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }
}
