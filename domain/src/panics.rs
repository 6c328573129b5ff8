//! What a panic says.

use std::any::Any;

/// The message of a panic that was caught, from what it carries.
pub fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it has no message")
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, panic_any};

    use super::*;

    #[test]
    fn the_message_is_found_whatever_its_type() {
        let said = |panics: fn()| message(&*catch_unwind(panics).unwrap_err()).to_owned();
        assert_eq!(said(|| panic!("as it is")), "as it is");
        assert_eq!(said(|| panic!("{} of {}", 1, 2)), "1 of 2");
        assert_eq!(said(|| panic_any(5)), "it has no message");
    }
}
