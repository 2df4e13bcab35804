//! A world of its own for the code of one thread: its clocks and its random numbers.
//!
//! Compiled for simulations only. While a world is entered, [`crate::clock`] and [`crate::entry::new_origin`] ask
//! it instead of the machine, so that the same seed gives the same run.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::clock::UnixMs;

/// What a machine tells a program.
pub trait World {
    /// The clock that never goes back.
    fn instant(&self) -> Instant;
    /// The wall clock, which may jump.
    fn unix_ms(&self) -> UnixMs;
    /// A random number.
    fn random(&self) -> u64;
    /// The program ends itself, with this code.
    fn exit(&self, code: i32);
}

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Leaves the world when it is dropped, for the one that was entered before.
#[must_use = "the world is left when this is dropped"]
pub struct Entered(Option<Rc<dyn World>>);

/// Enters a world on this thread.
pub fn enter(world: Rc<dyn World>) -> Entered {
    Entered(WORLD.replace(Some(world)))
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(self.0.take());
    }
}

/// Ends the program of this thread's world with this code; whether it is in one.
pub fn exit(code: i32) -> bool {
    ask(|world| world.exit(code)).is_some()
}

/// Asks the world of this thread, if it is in one.
pub(crate) fn ask<T>(question: impl FnOnce(&dyn World) -> T) -> Option<T> {
    let world = WORLD.with_borrow(Clone::clone);
    world.map(|world| question(&*world))
}
