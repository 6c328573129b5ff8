//! What the functions need to be Lambdas: [`http`] for those that answer requests, [`fanout`] for the one that tells of
//! changes. Each binary is a few lines over them.

pub mod fanout;
pub mod http;
