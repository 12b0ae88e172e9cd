//! PostgreSQL: connections for reading and for changing, the catalog as a schema, the statements that add to
//! it, and databases and roles of our own beside the live one.

pub(crate) mod connection;
pub(crate) mod ddl;
pub(crate) mod dump;
pub(crate) mod leftovers;
pub(crate) mod own_database;
pub(crate) mod own_lock;
pub(crate) mod own_role;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod tls;
pub(crate) mod url;
pub(crate) mod user_rights;
pub(crate) mod wire;
