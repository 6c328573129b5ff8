//! What all routes share: authenticating, reading and decoding requests, errors, pages, the request log and the audit.

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod caller;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod error_code;
pub(crate) mod json;
pub(crate) mod paging;
pub(crate) mod params;
pub(crate) mod profile;
pub(crate) mod request;
pub(crate) mod request_log;
pub(crate) mod room;
pub(crate) mod source;
pub(crate) mod time_limit;
