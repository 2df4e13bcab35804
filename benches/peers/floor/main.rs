//! The least that a room server on WebSockets can do, to tell how much of another server's time is the kernel's.
//!
//! `peer-floor send|uring --listen ADDRESS --pad BYTES`. Clients join by the path they ask for, and every text of one goes
//! to all with the same path, itself included. All that came from a client in one read leaves to each receiver in one
//! write: by send(2) one after the other, or by `io_uring` sends that enter the kernel together.
//!
//! Absent on purpose: everything else. Every request is upgraded with the answer to one fixed key, texts are not checked,
//! pings are not answered, there is no outbox: a receiver that does not read holds up everybody, and nothing is lost.

mod frames;
mod send;
mod server;
mod uring;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use self::send::Sends;
use self::server::Server;
use self::uring::Ring;

fn main() -> ExitCode {
    let listen = Arg::new("listen").long("listen").required(true).value_parser(value_parser!(SocketAddr));
    let pad = Arg::new("pad").long("pad").default_value("0").value_parser(value_parser!(usize));
    let command = Command::new("peer-floor")
        .about("The least that a room server can do")
        .arg(Arg::new("by").required(true).value_parser(["send", "uring"]).help("how it writes"))
        .arg(listen.help("address to listen on"))
        .arg(pad.help("bytes by which a message leaves longer than it came"));
    match run(&command.get_matches()) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &ArgMatches) -> io::Result<std::convert::Infallible> {
    let missing = || io::Error::other("--listen is missing");
    let address = flags.get_one::<SocketAddr>("listen").ok_or_else(missing)?;
    let pad_bytes = flags.get_one::<usize>("pad").copied().unwrap_or_default();
    let server = Server::listen(*address, pad_bytes)?;
    if flags.get_one::<String>("by").is_some_and(|by| by == "uring") {
        server.run(Ring::new()?)
    } else {
        server.run(Sends)
    }
}
