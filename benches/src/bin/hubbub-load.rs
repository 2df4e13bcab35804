//! `hubbub-load`: see [`hubbub_benches::load`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hubbub_benches::load::main()
}
