//! Credentials of push providers: what the owner gives is looked at before it is taken ([`material`]), and what is secret
//! of it is stored sealed ([`seal`]). [`vault`] does both for those who make credentials.

pub mod material;
pub mod seal;
pub mod vault;
