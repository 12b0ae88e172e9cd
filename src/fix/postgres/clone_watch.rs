//! How much a trial may write: its clones lie on the disk of the live server, which has to go on.

use std::convert::Infallible;
use std::time::Duration;

use crate::database::postgres::own_database::OwnDatabase;
use crate::database::postgres::session::{ServerError, Session};
use crate::fix::apply::ApplyError;
use crate::fix::postgres::error::{PostgresError, because};
use crate::fix::postgres::transaction::ASK_MAX;

/// By how many bytes a clone may grow.
pub(crate) const GROWTH_MAX: u64 = 1 << 30;
/// Between two looks, in which a fast disk takes some hundred MiB.
const EVERY: Duration = Duration::from_millis(200);

/// Does `work`, which is ended at the server once `clone` has grown too much. It asks over `live`, which somebody
/// between us and the server might close if it were idle all the time.
pub(crate) fn watched<T>(
    live: &Session,
    clone: &OwnDatabase,
    growth_max: u64,
    work: impl FnOnce() -> Result<T, ApplyError>,
) -> Result<T, ApplyError> {
    let unknown = || because("cannot ask for a clone's size");
    let begun_with = size_of(live, clone).map_err(unknown())?;
    std::thread::scope(|scope| {
        // Dropped with the end of the work, however it ends.
        let (working, ended) = crossbeam_channel::bounded::<Infallible>(0);
        let watch = scope.spawn(move || {
            let mut too_much = None;
            loop {
                crossbeam_channel::select! {
                    recv(ended) -> _ => return too_much,
                    default(EVERY) => {}
                }
                if too_much.is_none() {
                    too_much = match size_of(live, clone) {
                        Ok(now) if now <= begun_with + growth_max => None,
                        Ok(_) => Some(PostgresError::TooLarge(growth_max >> 20)),
                        Err(error) => Some(unknown()(error)),
                    };
                }
                // Again and again: one that was about to connect comes later.
                if too_much.is_some()
                    && let Err(error) = end_all(live, clone)
                {
                    tracing::debug!(%error, "cannot end what writes to a clone");
                }
            }
        });
        let done = work();
        drop(working);
        match watch.join() {
            Ok(None) => done,
            Ok(Some(why)) => Err(why.into()),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn size_of(session: &Session, clone: &OwnDatabase) -> Result<u64, ServerError> {
    // Such names have no quote in them.
    let asked = format!("SELECT pg_catalog.pg_database_size('{}')", clone.name());
    let size = session.value(&asked, ASK_MAX)?;
    size.and_then(|size| size.parse().ok())
        .ok_or_else(|| ServerError::new("no number"))
}

fn end_all(session: &Session, clone: &OwnDatabase) -> Result<(), ServerError> {
    let name = clone.name();
    let close = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false");
    session.run(&close, ASK_MAX)?;
    let end = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = '{name}'"
    );
    session.run(&end, ASK_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::checks::testing::postgres::Server;
    use crate::database::postgres::own_database::Template;
    use crate::database::postgres::own_role::OwnRole;

    #[test]
    fn what_fills_the_disk_is_ended() {
        let Some(server) = Server::start() else {
            return;
        };
        let bob = server
            .database_of_bob("CREATE TABLE t (x text)")
            .replace("postgresql+asyncpg", "postgresql");
        server.sql("postgres", "ALTER ROLE bob CREATEROLE");
        for url in [bob, server.url("postgresql", "app")] {
            let live = Arc::new(Session::connect(&url).unwrap());
            let role = Arc::new(OwnRole::create(&live).unwrap());
            let clone = OwnDatabase::create_owned(&live, Template::Empty, &role).unwrap();
            let session = clone.connect().unwrap();
            let fills = |rows: u64| {
                let sql = format!(
                    "CREATE TABLE t AS SELECT repeat(md5(x::text), 60) FROM (SELECT generate_series(1, {rows}) AS x) AS s"
                );
                watched(&live, &clone, 32 << 20, || {
                    let done = session.run(&sql, Duration::from_secs(60));
                    Ok(done.map_err(because("cannot write"))?)
                })
            };
            fills(10).unwrap();
            session.run("DROP TABLE t", ASK_MAX).unwrap();
            let why = fills(10_000_000).unwrap_err().to_string();
            assert!(why.contains("grew by more than 32 MiB"), "{why}");
            assert!(clone.connect().is_err());
        }
        let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'ubs\\_%'";
        assert_eq!(server.sql("postgres", left).trim(), "0");
    }
}
