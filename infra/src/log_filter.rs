//! What is never logged, whatever level the owner asks for.

use tracing::Level;

/// The libraries that carry requests. In detail, they may log what they send: paths with device tokens, headers, and bodies.
const CARRIERS: [&str; 8] = ["h2", "hyper", "hyper_rustls", "hyper_util", "reqwest", "rustls", "tokio_rustls", "tower"];

/// The same, of AWS: the beginning of their names.
const AWS: &str = "aws_";

/// Whether an entry of this module and level may be logged: of the libraries that carry requests, no details.
pub fn may_log(target: &str, level: &Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    *level <= Level::INFO || !(CARRIERS.contains(&library) || library.starts_with(AWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_of_requests_are_never_logged() {
        for target in
            ["h2", "h2::codec::framed_write", "hyper::proto::h2", "hyper_util::client", "aws_smithy_runtime::x"]
        {
            for (level, may) in
                [(Level::TRACE, false), (Level::DEBUG, false), (Level::INFO, true), (Level::ERROR, true)]
            {
                assert_eq!(may_log(target, &level), may, "{target} {level}");
            }
        }
        for target in ["reachability_worker::push", "h2o", "tokio::task"] {
            assert!(may_log(target, &Level::TRACE), "{target}");
        }
    }
}
