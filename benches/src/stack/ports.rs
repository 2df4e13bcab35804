//! Free TCP ports on the loopback address.
//!
//! Ports come from below the kernel's ephemeral range (32768 and up by default), so that no outgoing connection
//! takes one while its part restarts. A lease is an abstract Unix socket named after the port: two stacks on a
//! machine never get the same port, and the kernel drops the lease with the process. A foreign program can
//! still be faster between the look and the part's own bind; a stack then tries again with another port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use super::{StackError, random};

const PORTS: Range<u16> = 20_000..32_000;

/// A port that no other stack will use while this lives.
#[derive(Debug)]
pub struct Lease {
    port: u16,
    _lock: Option<UnixDatagram>,
}

impl Lease {
    /// Some free port.
    pub fn any() -> Result<Self, StackError> {
        // Stacks that start at the same time look in different places.
        let count = PORTS.end - PORTS.start;
        let first = u16::from_ne_bytes(random()?) % count;
        let mut ports = (0..count).map(|step| PORTS.start + (first + step) % count);
        ports.find_map(Self::take).ok_or(StackError::NoPort)
    }

    /// This very port, which the caller has chosen.
    pub fn fixed(port: u16) -> Self {
        Self { port, _lock: None }
    }

    fn take(port: u16) -> Option<Self> {
        let name = UnixAddr::from_abstract_name(format!("hubbub-port-{port}")).ok()?;
        let lock = UnixDatagram::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self { port, _lock: Some(lock) })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stack::wait::until;

    #[test]
    fn a_leased_or_bound_port_is_not_given_again() {
        let lease = Lease::any().unwrap();
        assert!(Lease::take(lease.port()).is_none());
        let port = lease.port();
        drop(lease);
        // A process that another test has just forked may hold the look's socket until it has become its program.
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let bound = until(Duration::from_secs(10), bind).unwrap();
        assert!(Lease::take(port).is_none());
        drop(bound);
        assert_eq!(until(Duration::from_secs(10), || Lease::take(port)).unwrap().port(), port);
    }
}
