//! The wire contract of Downbeat: messages and services of package `downbeat.v1`, generated at build
//! time from the `.proto` files beside this crate. No logic lives here.
#![allow(clippy::all, missing_docs, unreachable_pub)]

/// Package `downbeat.v1`.
pub mod v1 {
    tonic::include_proto!("downbeat.v1");
}

/// The encoded `FileDescriptorSet` of the package, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
