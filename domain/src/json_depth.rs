//! How deep JSON is nested.

/// How many levels of arrays and objects the app's own data may have. The parsers of clients and ours stop at about 128, and what
/// is stored and sent has some around it.
pub const MAX_DEPTH: usize = 64;

/// Whether a JSON text has at most [`MAX_DEPTH`] levels.
pub fn is_shallow(json: &str) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    json.bytes().all(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= MAX_DEPTH
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_shallow(&nested(MAX_DEPTH)));
        assert!(!is_shallow(&nested(MAX_DEPTH + 1)));
        assert!(is_shallow(&format!("[{}]", vec!["{}"; 1_000].join(","))));
        assert!(is_shallow(&format!(r#"{{"a\"{brackets}": "{brackets}\\"}}"#, brackets = "[{".repeat(100))));
        assert!(!is_shallow(&format!(r#"{{"a\\": {}}}"#, nested(MAX_DEPTH))));
    }
}
