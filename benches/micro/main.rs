//! What the parts of the gateway cost by themselves: `cargo bench -p hubbub-benches --bench micro`.
//!
//! For somebody who changes one of them. What a message costs altogether is mostly the kernel's work, and is measured by
//! `hubbub-load`.

mod bus;
mod frames;
mod protocol;
mod rooms;

use std::time::Duration;

use criterion::Criterion;

const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(3);
/// Bytes of a message's body: a short one, the one of the load tests, a long one.
const BODY_BYTES: [usize; 3] = [32, 128, 1_024];

fn main() {
    let criterion = Criterion::default().warm_up_time(WARM_UP).measurement_time(MEASURED);
    let mut criterion = criterion.configure_from_args();
    frames::decode(&mut criterion);
    protocol::parse(&mut criterion);
    protocol::encode(&mut criterion);
    rooms::join_and_leave(&mut criterion);
    rooms::members(&mut criterion);
    bus::pack(&mut criterion);
    bus::entries(&mut criterion);
    criterion.final_summary();
}

/// A body of so many bytes.
fn body(bytes: usize) -> String {
    "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(bytes).collect()
}
