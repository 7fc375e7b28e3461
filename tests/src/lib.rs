//! Builders and fixtures that the tests share.

pub mod fuzz;
pub mod harness;
pub mod port;
pub mod postgres;
pub mod sim;
