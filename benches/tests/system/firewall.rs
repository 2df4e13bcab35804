//! `systemd/examples/nftables.conf` on a real kernel, in networks made for it: who gets in, who does not, and whose connections
//! are not followed.

use std::path::Path;
use std::process::Command;

use hubbub_benches::stack::find;

/// Long, because it ends tests that fail.
const SECONDS_MAX: &str = "300";

/// In a network of its own; a user who is not root is root there.
fn in_a_network() -> Command {
    let mut command = Command::new("timeout");
    command.args([SECONDS_MAX, "unshare", "--net"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}

/// Not where tests run in a container without rights.
fn networks_can_be_made() -> bool {
    in_a_network().arg("true").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_firewall_lets_in_who_is_named_and_nobody_else() {
    if !networks_can_be_made() {
        eprintln!("skipped: no networks can be made here, which takes root or user namespaces");
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = in_a_network();
    command.args(["bash", "tests/system/firewall.sh"]).args([find("nft").unwrap(), find("haproxy").unwrap()]);
    command.arg(here.join("../systemd/examples/nftables.conf")).arg(folder.path()).current_dir(here);
    let output = command.output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && told.contains("firewall: all as it should be"), "{told}");
}
