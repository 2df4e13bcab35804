//! `hubbub-dev`: see [`hubbub_benches::dev`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hubbub_benches::dev::main()
}
