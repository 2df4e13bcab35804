//! Everything that is tested from outside: real programs, real Redis, Postgres and `HAProxy`.
//!
//! One binary, because linking is slow. Each test starts what it needs and waits for conditions with deadlines;
//! none measures time. Clients know the protocol page and nothing of our crates' types ([`client`]).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod accounts;
mod admin;
mod backup;
mod chat;
mod client;
mod dev;
mod exactly_once;
mod firewall;
mod gateway_alone;
mod guard;
mod hand_over;
mod haproxy;
mod invitations;
mod leadership;
mod limits;
mod load;
mod logs;
mod metrics;
mod missing_servers;
mod monitoring;
mod operators;
mod packaged;
mod peers;
mod persister;
mod postgres;
mod presence;
mod races;
mod redis_dies;
mod redis_fails_over;
mod redis_full;
mod redis_shapes;
mod redis_unfit;
mod rest;
mod resume;
mod retention;
mod rights;
mod routes;
mod s3;
mod search;
mod settings;
mod side_by_side;
mod slow;
mod stack;
mod supervised;
mod tidy;
mod traces;
mod units;
mod uploads;
