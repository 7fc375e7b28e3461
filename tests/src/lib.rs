//! Builders and fixtures that the tests share.

pub mod fuzz;
pub mod harness;
pub mod postgres;
pub mod sim;
