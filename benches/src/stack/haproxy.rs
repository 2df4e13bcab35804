//! `HAProxy` with the shipped configuration, in which only addresses change.

use std::fs;
use std::net::SocketAddr;

use super::part::{Kind, Part, Process};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, HAPROXY_CFG, StackError, find};

/// In front of these gateways and control planes, on the public port where one is given.
pub(super) fn haproxy(
    folder: &Folder,
    public_port: Option<u16>,
    gateways: &[Part],
    controls: &[Part],
) -> Result<Part, StackError> {
    let home = folder.sub("haproxy")?;
    let public = public_port.map_or_else(Lease::any, |port| Ok(Lease::fixed(port)))?;
    let internal = Lease::any()?;
    let addresses = Addresses {
        public: public.address(),
        internal: internal.address(),
        gateways: servers(gateways),
        controls: servers(controls),
    };
    let path = home.join("haproxy.cfg");
    fs::write(&path, addresses.fill_in(HAPROXY_CFG)).map_err(StackError::io(path.display().to_string()))?;
    let launch = Launch::new(find("haproxy")?, home, folder.log("haproxy"));
    Ok(Part {
        name: "haproxy".to_owned(),
        kind: Kind::Haproxy,
        url: format!("http://{}", public.address()),
        metrics: Some(internal.address()),
        probe: Probe::Http(internal.address(), "/health"),
        launch: launch.args(["-db", "-f", "haproxy.cfg"]),
        process: Process::none(),
        leases: vec![public, internal],
    })
}

fn servers(parts: &[Part]) -> Vec<(String, String)> {
    let address = |part: &Part| part.url().trim_start_matches("http://").to_owned();
    parts.iter().map(|part| (part.name().to_owned(), address(part))).collect()
}

struct Addresses {
    public: SocketAddr,
    internal: SocketAddr,
    gateways: Vec<(String, String)>,
    controls: Vec<(String, String)>,
}

impl Addresses {
    /// Replaces the `bind` line of each frontend; and the `server` lines of each backend by copies of its first one,
    /// with other names and addresses.
    fn fill_in(&self, config: &str) -> String {
        let mut filled = String::new();
        let (mut section, mut pattern) = (String::new(), false);
        for line in config.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match (words.as_slice(), section.as_str()) {
                ([kind @ ("frontend" | "backend" | "defaults" | "global"), rest @ ..], _) => {
                    section = format!("{kind} {}", rest.join(" "));
                    pattern = false;
                    push(&mut filled, line);
                }
                (["bind", ..], "frontend public") => push(&mut filled, &format!("    bind {}", self.public)),
                (["bind", ..], "frontend internal") => {
                    push(&mut filled, &format!("    bind {}", self.internal));
                }
                (["server", name, address, ..], "backend gateways" | "backend control") => {
                    let servers = if section.ends_with("gateways") { &self.gateways } else { &self.controls };
                    // Only the first one is a pattern.
                    for (new_name, new_address) in servers.iter().filter(|_| !pattern) {
                        push(&mut filled, &line.replace(name, new_name).replace(address, new_address));
                    }
                    pattern = true;
                }
                _ => push(&mut filled, line),
            }
        }
        filled
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_change() {
        let servers =
            |names: &[&str]| names.iter().map(|name| ((*name).into(), format!("{name}:1"))).collect();
        let addresses = Addresses {
            public: ([127, 0, 0, 1], 1).into(),
            internal: ([127, 0, 0, 1], 2).into(),
            gateways: servers(&["g1", "g2", "g3"]),
            controls: servers(&["c1"]),
        };
        let filled = addresses.fill_in(HAPROXY_CFG);
        let is_address =
            |line: &&str| line.trim_start().starts_with("bind ") || line.trim_start().starts_with("server ");
        let rest =
            |text: &str| text.lines().filter(|line| !is_address(line)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(rest(&filled), rest(HAPROXY_CFG));
        let lines: Vec<_> = filled.lines().filter(is_address).map(str::trim).collect();
        let expected = [
            "bind 127.0.0.1:1",
            "bind 127.0.0.1:2",
            "server g1 g1:1 cookie g1",
            "server g2 g2:1 cookie g2",
            "server g3 g3:1 cookie g3",
            "server c1 c1:1",
        ];
        assert_eq!(lines, expected);
    }
}
