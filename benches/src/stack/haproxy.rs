//! `HAProxy` with the shipped configuration, in which only the server lines change; the rest of what a stack wants
//! differently, the configuration takes from its environment.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::hubbub::Variable;
use super::part::{Kind, Part, Process};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, HAPROXY_CFG, StackError, find, tls, write_private};

/// From where it connects: addresses that no client has, so that gateways can tell who is a proxy.
pub(super) const SOURCES: &str = "127.1.0.0/16";
/// What a client address may do, where a test does not say otherwise: here all clients share one.
const UNLIMITED: &str = "1000000000";
const LIMITS: [&str; 3] =
    ["HUBBUB_CONNECTS_PER_10S", "HUBBUB_CONNECTIONS_PER_ADDRESS", "HUBBUB_REQUESTS_PER_10S"];
/// Whose certificate it is.
const PART: &str = "haproxy";

/// How a stack wants it.
#[derive(Debug, Clone)]
pub(super) struct Front {
    /// Where clients connect to the first one, instead of to a free port.
    pub(super) public_port: Option<u16>,
    pub(super) tls: bool,
    /// Addresses from which each gateway is connected to, by a server line each.
    pub(super) sources: u8,
}

impl Default for Front {
    fn default() -> Self {
        Self { public_port: None, tls: false, sources: 1 }
    }
}

/// The name of the how-manyeth one, from one.
pub(super) fn name(number: usize) -> String {
    if number == 1 { PART.to_owned() } else { format!("{PART}-{number}") }
}

/// The certificate of the authority that vouches for it.
pub(super) fn authority(folder: &Path) -> PathBuf {
    tls::authority(folder, PART)
}

/// Where it sends clients away to TLS.
pub(super) fn plain_url(haproxy: &Part) -> Option<String> {
    haproxy.leases.get(2).map(|lease| format!("http://{}", lease.address()))
}

impl Front {
    /// In front of these gateways and control planes.
    pub(super) fn haproxy(
        &self,
        folder: &Folder,
        number: usize,
        gateways: &[Part],
        controls: &[Part],
    ) -> Result<Part, StackError> {
        let name = name(number);
        let home = folder.sub(&name)?;
        let public_port = self.public_port.filter(|_| number == 1);
        let public = public_port.map_or_else(Lease::any, |port| Ok(Lease::fixed(port)))?;
        let mut leases = vec![public, Lease::any()?];
        if self.tls {
            leases.push(Lease::any()?);
            certificate(folder, &home)?;
        }
        let config =
            Servers { gateways: &servers(gateways), controls: &servers(controls), front: self, number };
        let path = home.join("haproxy.cfg");
        fs::write(&path, config.fill_in(HAPROXY_CFG)).map_err(StackError::io(path.display().to_string()))?;
        let addresses: Vec<_> = leases.iter().map(Lease::address).collect();
        let [public, internal, redirect @ ..] = &*addresses else { return Err(StackError::NoPort) };
        let mut env: Vec<Variable> = Vec::new();
        let mut set = |name: &str, value: &str| env.push((OsString::from(name), OsString::from(value)));
        for limit in LIMITS {
            set(limit, UNLIMITED);
        }
        set("HUBBUB_INTERNAL_LISTEN", &internal.to_string());
        // Relative to its folder, because a socket's path has to be short.
        set("HUBBUB_HAPROXY_SOCKET", "unix@admin.sock");
        set("HUBBUB_SOURCE", &source(number, 1));
        match redirect.first() {
            Some(redirect) => {
                set("HUBBUB_HTTPS_LISTEN", &public.to_string());
                set("HUBBUB_HTTP_LISTEN", &redirect.to_string());
                set("HUBBUB_TLS_FOLDER", "tls");
            }
            None => set("HUBBUB_PLAIN_LISTEN", &public.to_string()),
        }
        let scheme = if self.tls { "https" } else { "http" };
        Ok(Part {
            url: format!("{scheme}://{public}"),
            metrics: Some(*internal),
            probe: Probe::Http(*internal, "/health"),
            // With a master, which can reload, as under systemd.
            launch: Launch::new(find("haproxy")?, home, folder.log(&name))
                .args(["-W", "-db", "-f", "haproxy.cfg"])
                .env(env),
            kind: Kind::Haproxy,
            name,
            process: Process::none(),
            leases,
        })
    }
}

/// Puts chain and key into one file, as it wants them.
fn certificate(folder: &Folder, home: &Path) -> Result<(), StackError> {
    let files = tls::certificate(folder, PART)?;
    let place = home.join("tls");
    let both = fs::create_dir_all(&place).and_then(|()| {
        let read = fs::read_to_string;
        write_private(&place.join("localhost.pem"), &(read(&files.certificate)? + &read(&files.key)?))
    });
    both.map_err(StackError::io(place.display().to_string()))
}

/// An address from which this one connects.
fn source(haproxy: usize, line: u8) -> String {
    format!("127.1.{haproxy}.{line}")
}

type Server = (String, String);

fn servers(parts: &[Part]) -> Vec<Server> {
    let address = |part: &Part| part.url().trim_start_matches("http://").to_owned();
    parts.iter().map(|part| (part.name().to_owned(), address(part))).collect()
}

/// The server lines.
struct Servers<'a> {
    gateways: &'a [Server],
    controls: &'a [Server],
    front: &'a Front,
    number: usize,
}

impl Servers<'_> {
    /// Replaces the `server` lines of each backend by copies of its first one, with other names and addresses.
    fn fill_in(&self, config: &str) -> String {
        let mut filled = String::new();
        let mut push = |line: &str| {
            filled.push_str(line);
            filled.push('\n');
        };
        let mut pattern_of = "";
        for line in config.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match *words {
                ["backend", backend] => {
                    pattern_of = backend;
                    push(line);
                }
                ["server", name, address, ..] => {
                    // Only the first one is a pattern.
                    let (servers, lines) = match std::mem::take(&mut pattern_of) {
                        "gateways" => (self.gateways, self.front.sources),
                        "control" => (self.controls, 1),
                        "acme" => {
                            push(line);
                            continue;
                        }
                        _ => continue,
                    };
                    for (new_name, new_address) in servers {
                        let copy = line.replace(address, new_address);
                        push(&copy.replace(name, new_name));
                        for more in 2..=lines {
                            let another = copy.replace(name, &format!("{new_name}-{more}"));
                            let source = source(self.number, more);
                            push(&format!("{another} source {source} no-check track {new_name}"));
                        }
                    }
                }
                _ => push(line),
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_server_lines_change() {
        let servers = |names: &[&str]| -> Vec<Server> {
            names.iter().map(|name| ((*name).into(), format!("{name}:1"))).collect()
        };
        let front = Front { sources: 2, ..Front::default() };
        let (gateways, controls) = (servers(&["g1", "g2"]), servers(&["c1", "c2"]));
        let filled = Servers { gateways: &gateways, controls: &controls, front: &front, number: 3 };
        let filled = filled.fill_in(HAPROXY_CFG);
        let is_server = |line: &&str| line.trim_start().starts_with("server ");
        let rest =
            |text: &str| text.lines().filter(|line| !is_server(line)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rest(&filled), rest(HAPROXY_CFG));
        let lines: Vec<_> = filled.lines().filter(is_server).map(str::trim).collect();
        let expected = [
            "server certbot \"${HUBBUB_ACME-127.0.0.1:8402}\"",
            "server g1 g1:1 cookie g1",
            "server g1-2 g1:1 cookie g1-2 source 127.1.3.2 no-check track g1",
            "server g2 g2:1 cookie g2",
            "server g2-2 g2:1 cookie g2-2 source 127.1.3.2 no-check track g2",
            "server c1 c1:1",
            "server c2 c2:1",
        ];
        assert_eq!(lines, expected);
    }
}
