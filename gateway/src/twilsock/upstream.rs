//! Requests of clients, which come in `message` packets.

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::twilsock::action::UpstreamRequest;
use crate::twilsock::codec::HttpRequest;
use crate::twilsock::input::Response;

/// What a name or a value of a query is not sent with. A percent sign stays: it is from the client's encoding.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'&').add(b'<').add(b'=').add(b'>');

/// The longest method, in bytes.
const MAX_METHOD: usize = 16;

/// Reads a request.
///
/// # Errors
/// The response to one that cannot be made, with 400.
pub(crate) fn read(
    http: HttpRequest,
    content_type: Option<String>,
    payload: &[u8],
) -> Result<UpstreamRequest, Response> {
    let HttpRequest { method, path, params } = http;
    if !(1..=MAX_METHOD).contains(&method.len()) || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(problem(400, 20001, "The method of the request is not one of HTTP"));
    }
    if !path.starts_with('/') || !path.bytes().all(is_of_a_path) {
        return Err(problem(400, 20001, "The path of the request is not percent-encoded"));
    }
    let mut query = String::new();
    for (name, value) in params.unwrap_or_default() {
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        for value in values {
            let value = match value {
                Value::Null => continue,
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(problem(
                        400,
                        20001,
                        "A parameter of the request is neither a text nor a list of texts",
                    ));
                }
            };
            if !query.is_empty() {
                query.push('&');
            }
            query.extend(utf8_percent_encode(&name, QUERY));
            query.push('=');
            query.extend(utf8_percent_encode(&value, QUERY));
        }
    }
    Ok(UpstreamRequest { method, path, query, content_type, body: Bytes::copy_from_slice(payload) })
}

fn is_of_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// An error as the vendor's services write it.
pub(crate) fn problem(status: u16, code: u32, message: &str) -> Response {
    json_response(status, &json!({"code": code, "message": message, "status": status}))
}

pub(crate) fn json_response(status: u16, body: &Value) -> Response {
    Response { status, content_type: Some("application/json".to_owned()), body: body.to_string().into() }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn request(method: &str, path: &str, params: Option<Value>) -> Result<UpstreamRequest, u16> {
        let params = params.map(|params| serde_json::from_value::<Map<_, _>>(params).unwrap());
        let http = HttpRequest { method: method.to_owned(), path: path.to_owned(), params };
        read(http, None, b"{}").map_err(|response| response.status)
    }

    #[test]
    fn a_path_and_a_query_stay_encoded() {
        let params = json!({"Key": "a%20b", "Order": ["asc", "desc"], "PageSize": 50, "Unset": null, "ü &=": "#+ "});
        let http = request("GET", "/v3/Maps/US1.info/Items/a%2Fb", Some(params)).unwrap();
        assert_eq!((http.method.as_str(), http.path.as_str()), ("GET", "/v3/Maps/US1.info/Items/a%2Fb"));
        assert_eq!(http.query, "Key=a%20b&Order=asc&Order=desc&PageSize=50&%C3%BC%20%26%3D=%23+%20");
        assert_eq!(http.body, "{}");
        assert_eq!(request("DELETE", "/", None).unwrap().query, "");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (method, path) in [
            ("", "/"),
            ("get", "/"),
            ("GET ", "/"),
            ("AAAAAAAAAAAAAAAAA", "/"),
            ("GET", ""),
            ("GET", "v3"),
            ("GET", "/a?b"),
            ("GET", "/a#b"),
            ("GET", "/a b"),
            ("GET", "/a\r\nHost: b"),
            ("GET", "/ü"),
        ] {
            assert_eq!(request(method, path, None), Err(400), "{method:?} {path:?}");
        }
        assert_eq!(request("GET", "/", Some(json!({"a": [["b"]]}))), Err(400));
        assert_eq!(request("GET", "/", Some(json!({"a": {}}))), Err(400));
    }
}
