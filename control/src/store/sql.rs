//! Statements as a pooler in transaction mode takes them: each is sent whole, with the types of its parameters, in one
//! round trip. A prepared statement would stay behind on a server connection that the next client gets.

use std::future::Future;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, GenericClient, Row};

/// A parameter that says its type.
pub trait Param: Sync {
    /// Value and type.
    fn typed(&self) -> (&(dyn ToSql + Sync), Type);
}

macro_rules! params {
    ($($rust:ty => $postgres:ident;)*) => {
        $(impl Param for $rust {
            fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
                (self, Type::$postgres)
            }
        })*
    };
}

params! {
    bool => BOOL;
    i32 => INT4;
    i64 => INT8;
    &str => TEXT;
    String => TEXT;
    Option<i64> => INT8;
    Option<&str> => TEXT;
    Option<String> => TEXT;
    Option<Vec<u8>> => BYTEA;
    Vec<i32> => INT4_ARRAY;
    Vec<i64> => INT8_ARRAY;
    Vec<&str> => TEXT_ARRAY;
    Vec<bool> => BOOL_ARRAY;
}

/// See the module's text; in place of the methods of `GenericClient`.
pub trait Sql: GenericClient + Sync {
    /// All rows.
    fn rows(&self, sql: &str, params: &[&dyn Param]) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        let params: Vec<_> = params.iter().map(|param| param.typed()).collect();
        async move { self.query_typed(sql, &params).await }
    }

    /// The one row that there must be.
    fn one_row(&self, sql: &str, params: &[&dyn Param]) -> impl Future<Output = Result<Row, Error>> + Send {
        let params: Vec<_> = params.iter().map(|param| param.typed()).collect();
        async move { self.query_typed_one(sql, &params).await }
    }

    /// The one row, if there is one.
    fn maybe_row(
        &self,
        sql: &str,
        params: &[&dyn Param],
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
        let params: Vec<_> = params.iter().map(|param| param.typed()).collect();
        async move { self.query_typed_opt(sql, &params).await }
    }

    /// How many rows were changed.
    fn run(&self, sql: &str, params: &[&dyn Param]) -> impl Future<Output = Result<u64, Error>> + Send {
        let params: Vec<_> = params.iter().map(|param| param.typed()).collect();
        async move { self.execute_typed(sql, &params).await }
    }
}

impl<C: GenericClient + Sync> Sql for C {}

/// How long a statement may take that somebody waits for.
const TIME_MAX: Duration = Duration::from_secs(8);

/// All rows of what may take long: Postgres ends it in time for an answer.
pub async fn rows_in_time(client: &Client, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>, Error> {
    rows_within(client, TIME_MAX, sql, params).await
}

/// All rows, where that takes no longer than this. One round trip, and no trace on a connection that a pooler gives to the
/// next client.
pub async fn rows_within(
    client: &Client,
    time: Duration,
    sql: &str,
    params: &[&dyn Param],
) -> Result<Vec<Row>, Error> {
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", time.as_millis().max(1));
    // All three are sent when first polled, in this order; a transaction that failed is rolled back by its COMMIT.
    let (begun, rows, _) =
        tokio::join!(client.batch_execute(&begin), client.rows(sql, params), client.batch_execute("COMMIT"));
    begun?;
    rows
}
