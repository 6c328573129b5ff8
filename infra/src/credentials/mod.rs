//! Credentials of push providers: [`material`] checks the owner's input, [`seal`] encrypts secrets for storage, and
//! [`vault`] combines both.

pub mod material;
pub mod seal;
pub mod vault;
