//! The end of a compilation: what the outputs need, and where each tensor is kept.

use std::collections::{HashMap, HashSet};

use crate::program::compile::{Compiled, Compiler, Draft, Value, unsupported};
use crate::program::memory::Widths;
use crate::program::onnx::{self, Signature};
use crate::program::plan::{Action, Kind, Place, Step};
use crate::program::{Port, Unsupported};

impl Compiler<'_> {
    pub(super) fn finish(
        mut self,
        signatures: &[Signature<'_>],
        inputs: Vec<Port>,
    ) -> Result<Compiled, Unsupported> {
        let mut outputs = Vec::new();
        // The outputs by source.
        let mut places: HashMap<u32, Place> = HashMap::new();
        for signature in signatures {
            let name = signature.name;
            let view = match self.value(name)? {
                Some(Value::Rows(view)) => view,
                Some(Value::Constant(_)) => return unsupported(format!("the output {name} is a constant")),
                None => return unsupported(format!("the output {name} has no node")),
            };
            let element = match view.kind {
                Kind::F32 => onnx::FLOAT,
                Kind::F64 => onnx::DOUBLE,
                Kind::I64 => onnx::INT64,
                Kind::Bool => onnx::BOOL,
            };
            if view.kind == Kind::Bool || element != signature.element {
                return unsupported(format!("the output {name} is of a type that does not run here"));
            }
            let mut source = self.whole_source(&view.cells)?;
            if places.contains_key(&source) || self.draft(source).is_none() {
                // Another output has this tensor already, or it is an input.
                self.picked.remove(view.cells.as_ref());
                source = self.pick(&view.cells)?;
            }
            places.insert(source, Place::Output(outputs.len()));
            outputs.push(Port { name: name.into(), element, width: view.width() });
        }
        let mut needed = self.needed_steps(&places);
        self.fuse(&places, &mut needed);
        let (steps, widths) = self.allocate(places, &needed);
        Ok(Compiled { inputs, outputs, constants: self.constants, steps, widths })
    }

    /// Which steps the outputs need.
    fn needed_steps(&mut self, places: &HashMap<u32, Place>) -> Vec<bool> {
        let mut read: HashSet<u32> = places.keys().copied().collect();
        let mut needed = vec![false; self.drafts.len()];
        for (draft, needed) in self.drafts.iter_mut().zip(&mut needed).rev() {
            *needed = read.contains(&draft.source);
            if *needed {
                draft.action.for_each_place(&mut |place| {
                    if let Place::Slot(source) = place {
                        read.insert(*source as u32);
                    }
                });
            }
        }
        needed
    }

    /// The steps that are needed, each with the place of its tensor. A slot is free again after the last step that
    /// reads it.
    fn allocate(&mut self, mut places: HashMap<u32, Place>, needed: &[bool]) -> (Vec<Step>, Widths) {
        // The last reader of each source.
        let mut last: HashMap<u32, usize> = HashMap::new();
        for (at, draft) in self.drafts.iter_mut().enumerate().filter(|(at, _)| needed[*at]) {
            draft.action.for_each_place(&mut |place| {
                if let Place::Slot(source) = place {
                    last.insert(*source as u32, at);
                }
            });
        }
        let mut widths = Widths::default();
        let mut free: HashMap<Kind, Vec<usize>> = HashMap::new();
        let mut steps = Vec::new();
        for (at, draft) in std::mem::take(&mut self.drafts).into_iter().enumerate() {
            if !needed[at] {
                continue;
            }
            let Draft { mut action, kind, width, source } = draft;
            let place = *places.entry(source).or_insert_with(|| {
                let slots = widths.of_mut(kind);
                let slot = free.entry(kind).or_default().pop().unwrap_or_else(|| {
                    slots.push(0);
                    slots.len() - 1
                });
                slots[slot] = slots[slot].max(width);
                Place::Slot(slot)
            });
            let mut ended = Vec::new();
            action.for_each_place(&mut |place| {
                if let Place::Slot(read) = *place {
                    *place = places[&(read as u32)];
                    if last.get(&(read as u32)) == Some(&at) {
                        last.remove(&(read as u32));
                        ended.push(read);
                    }
                }
            });
            for read in ended {
                if let Place::Slot(slot) = places[&(read as u32)] {
                    free.entry(self.sources[read].kind).or_default().push(slot);
                }
            }
            steps.push(Step { action, place, kind, width });
        }
        (steps, widths)
    }
}

impl Action {
    /// Visits the place of each tensor that is read.
    pub(super) fn for_each_place(&mut self, visit: &mut dyn FnMut(&mut Place)) {
        match self {
            Self::Unary(_, of)
            | Self::Chain(of, _)
            | Self::Not(of)
            | Self::IsNan { of, .. }
            | Self::Cast { of, .. } => {
                visit(&mut of.place);
            }
            Self::Binary(_, of) | Self::Logic(_, of) | Self::Compare { of, .. } => {
                of.iter_mut().for_each(|of| visit(&mut of.place));
            }
            Self::Choose(condition, of) => {
                visit(&mut condition.place);
                of.iter_mut().for_each(|of| visit(&mut of.place));
            }
            Self::Pick(runs) => runs.iter_mut().for_each(|run| visit(&mut run.place)),
            Self::Score { of, .. } => visit(of),
            Self::Multiply { of, .. }
            | Self::Softmax { of, .. }
            | Self::ArgMax { of, .. }
            | Self::Reduce { of, .. }
            | Self::RunningSums { of, .. } => visit(&mut of.place),
            Self::LookUp { index, .. } => visit(&mut index.place),
            Self::Take { of, index, .. } => {
                visit(&mut of.place);
                visit(&mut index.place);
            }
        }
    }
}
