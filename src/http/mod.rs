//! One small HTTP client for all that ubs asks: vaults, probes, an application's own documents.
//!
//! HTTP/1.1 over TCP or TLS, no proxy, no redirect, bounded heads and bodies. It has no time limit of its own: who calls
//! it bounds the whole exchange. May rely on `manifest` for reading a file of authorities.

mod client;
mod roots;

pub(crate) use client::{Answer, BodyLimit, Client, HttpError, Target, server_certificate};
pub(crate) use roots::{certificates_of, fits, system_roots};
