//! The registration check: the routes that the application object really has against the services that
//! the manifest expects, and routers of the source that no route leads to.

mod check;
mod coverage;
mod live;
mod loader;
mod routers;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use check::check;
pub(crate) use live::{LiveService, LiveSystem, check_running};
