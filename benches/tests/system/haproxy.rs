//! The shipped configuration of `HAProxy`.

use std::process::Command;

use hubbub_benches::stack::find;

#[test]
fn the_shipped_configuration_is_valid_and_gives_no_warning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../haproxy/haproxy.cfg");
    let output = Command::new(find("haproxy").unwrap()).args(["-c", "-f", path]).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
    assert_eq!(told.trim(), "Configuration file is valid");
}
