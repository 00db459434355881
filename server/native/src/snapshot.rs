//! The immutable routing state: names to versions.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::coding::{Coder, Room, Rows};
use crate::runtime::{Frame, Names, RuntimeError, Session};
use crate::statistics::VersionCounts;
use crate::wire;

/// One output of a version, as it stands in every answer.
pub struct Output {
    name: Vec<u8>,
    pub width: usize,
}

impl Output {
    pub fn new(name: &str, width: usize) -> Self {
        let mut head = Vec::new();
        wire::put_bytes_head(&mut head, 1, name.len());
        head.extend_from_slice(name.as_bytes());
        Self { name: if name.is_empty() { Vec::new() } else { head }, width }
    }

    /// Its name, as the field of an Output.
    pub fn name_field(&self) -> &[u8] {
        &self.name
    }
}

/// A version that serves.
pub struct Version {
    /// The fields `model` and `version` of a PredictResponse.
    pub head: Vec<u8>,
    pub fingerprint: String,
    pub row_ns: f64,
    pub coder: Coder,
    pub outputs: Vec<Output>,
    pub counts: Arc<Box<[VersionCounts]>>,
    session: Arc<Session>,
    names: Arc<(Names, Names)>,
    /// For each worker the frame of its calls with one row.
    frames: Box<[Mutex<Option<Frame>>]>,
}

impl Version {
    #[allow(clippy::too_many_arguments)] // it is made in one place, by name
    pub fn new(
        model: &str,
        version: &str,
        fingerprint: String,
        row_ns: f64,
        coder: Coder,
        outputs: Vec<Output>,
        names: (Names, Names),
        session: Arc<Session>,
        counts: Arc<Box<[VersionCounts]>>,
    ) -> Self {
        let mut head = Vec::new();
        for (field, text) in [(1, model), (2, version)] {
            wire::put_bytes_head(&mut head, field, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        let frames = counts.iter().map(|_| Mutex::new(None)).collect();
        let names = Arc::new(names);
        Self { head, fingerprint, row_ns, coder, outputs, counts, session, names, frames }
    }

    /// Runs the graph over the rows that were examined, and hands its outputs to `use_outputs`.
    ///
    /// # Errors
    /// The graph fails, or answers with another shape than the schema's.
    pub fn run<T>(
        &self,
        worker: usize,
        rows: Rows<'_>,
        room: &mut Room,
        use_outputs: impl FnOnce(&Frame, &Room, Ran) -> T,
    ) -> Result<T, RuntimeError> {
        let kept = if room.errors.is_empty() { rows.count } else { room.kept.len() };
        if kept != 1 {
            let mut frame = Frame::new(self.coder.tensors(kept)?, self.names.clone());
            let ran = self.run_frame(&mut frame, kept, rows, room)?;
            return Ok(use_outputs(&frame, room, ran));
        }
        let slot = || self.frames[worker].lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that no one waits, and a frame whose run failed is never used again.
        let taken = slot().take();
        let mut frame = match taken {
            Some(frame) => frame,
            None => Frame::new(self.coder.tensors(1)?, self.names.clone()),
        };
        let ran = self.run_frame(&mut frame, 1, rows, room)?;
        let used = use_outputs(&frame, room, ran);
        *slot() = Some(frame);
        Ok(used)
    }

    fn run_frame(
        &self,
        frame: &mut Frame,
        kept: usize,
        rows: Rows<'_>,
        room: &mut Room,
    ) -> Result<Ran, RuntimeError> {
        self.coder.fill(rows, room, frame)?;
        let begin = Instant::now();
        frame.run(&self.session)?;
        let ran = Ran { begin, end: Instant::now() };
        for (tensor, output) in frame.outputs().iter().zip(&self.outputs) {
            if tensor.count() != kept * output.width {
                let (found, wanted) = (tensor.count(), kept * output.width);
                return Err(RuntimeError(format!("an output has {found} values instead of {wanted}")));
            }
        }
        Ok(ran)
    }
}

/// When the graph ran.
#[derive(Clone, Copy)]
pub struct Ran {
    pub begin: Instant,
    pub end: Instant,
}

/// Where a snapshot comes from, for the control plane to explain failures by.
pub type Origin = Arc<dyn Any + Send + Sync>;

/// All routes.
#[derive(Default)]
pub struct Snapshot {
    models: HashMap<String, HashMap<String, Arc<Version>, RandomState>, RandomState>,
    pub origin: Option<Origin>,
}

impl Snapshot {
    /// A snapshot of (model, version or alias or "", what answers).
    pub fn new(routes: Vec<(String, String, Arc<Version>)>, origin: Origin) -> Self {
        let mut snapshot = Self { origin: Some(origin), ..Self::default() };
        for (model, name, version) in routes {
            snapshot.models.entry(model).or_default().insert(name, version);
        }
        snapshot
    }

    /// The version that answers, if there is one.
    #[inline]
    pub fn route(&self, model: &str, version: &str) -> Option<&Arc<Version>> {
        self.models.get(model)?.get(version)
    }
}
