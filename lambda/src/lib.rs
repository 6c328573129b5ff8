//! What the functions need to be Lambdas: [`http`] for those that answer requests, [`sqs`] for those that consume a queue,
//! [`stream`] for the one that tells of changes. Each binary is a few lines over them. They are one package, since what is
//! compiled for one of them can then be used for all.

pub mod dead_letters;
pub mod http;
pub mod logs;
pub mod sqs;
pub mod stream;
