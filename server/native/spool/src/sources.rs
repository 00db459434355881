//! The sources that records may be of.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::columns::Shape;
use crate::source::Source;

/// A source that was defined. Records may be of the source while this is held; afterwards it is forgotten.
#[must_use = "the source is forgotten when this is dropped"]
pub struct DefinedSource {
    number: u32,
    sources: Arc<Sources>,
}

impl DefinedSource {
    /// The number of the source.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for DefinedSource {
    fn drop(&mut self) {
        self.sources.state().released.push(self.number);
    }
}

/// All sources that were defined and are not forgotten.
#[derive(Default)]
pub(crate) struct Sources(Mutex<State>);

#[derive(Default)]
struct State {
    /// By number: what a source is, and the count of its `DefinedSource`s that were not forgotten.
    defined: HashMap<u32, (Arc<Shape>, usize)>,
    /// The numbers of the `DefinedSource`s that are gone. Records of them may still be in the rings.
    released: Vec<u32>,
}

impl Sources {
    /// Keeps a source, unless its number is taken.
    pub(crate) fn define(self: &Arc<Self>, source: Source) -> DefinedSource {
        let number = source.number;
        let mut state = self.state();
        state.defined.entry(number).or_insert_with(|| (Arc::new(Shape::new(source)), 0)).1 += 1;
        DefinedSource { number, sources: Arc::clone(self) }
    }

    pub(crate) fn shape(&self, number: u32) -> Option<Arc<Shape>> {
        self.state().defined.get(&number).map(|(shape, _)| Arc::clone(shape))
    }

    /// The numbers of the `DefinedSource`s that have gone since the last call. All their records are in the rings
    /// by now, if not read already.
    pub(crate) fn take_released(&self) -> Vec<u32> {
        mem::take(&mut self.state().released)
    }

    /// Forgets the sources that have no `DefinedSource` any more. `released`: from `take_released`, before the
    /// rings were emptied.
    pub(crate) fn forget(&self, released: &[u32]) {
        let mut state = self.state();
        for number in released {
            if let Some((_, count)) = state.defined.get_mut(number) {
                *count -= 1;
                if *count == 0 {
                    state.defined.remove(number);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
