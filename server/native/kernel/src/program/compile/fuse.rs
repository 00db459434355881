//! Steps in a row that apply functions to the same numbers become one step.

use std::collections::HashMap;

use crate::program::arithmetic::{Binary, Unary};
use crate::program::compile::Compiler;
use crate::program::plan::{Action, Kind, Link, Operand, Place};

impl Compiler<'_> {
    /// Joins each step with the one before it, where that is the only one that reads it. `places` has the outputs, which
    /// are read once more, and `needed` says which steps they need.
    pub(super) fn fuse(&mut self, places: &HashMap<u32, Place>, needed: &mut [bool]) {
        let mut readers: HashMap<u32, usize> = places.keys().map(|source| (*source, 2)).collect();
        for (draft, _) in self.drafts.iter_mut().zip(&*needed).filter(|(_, needed)| **needed) {
            draft.action.for_each_place(&mut |place| {
                if let Place::Slot(source) = place {
                    *readers.entry(*source as u32).or_default() += 1;
                }
            });
        }
        self.log_one_plus_exponentials(&readers, needed);
        for at in 0..self.drafts.len() {
            if !needed[at] || !matches!(self.drafts[at].kind, Kind::F32 | Kind::F64) {
                continue;
            }
            let Some((of, link)) = self.link(at) else { continue };
            let Place::Slot(source) = of.place else { continue };
            let Some(before) = self.draft_number(source as u32) else { continue };
            let (own, given) = (&self.drafts[at], &self.drafts[before]);
            let alike = own.kind == given.kind && own.width == given.width && own.width == of.stride;
            let whole = of.begin == 0 && (!of.one || own.width == 1);
            if !alike || !whole || readers.get(&(source as u32)) != Some(&1) {
                continue;
            }
            let (first, mut links) = match &mut self.drafts[before].action {
                // Taken, not copied: a chain may have all nodes of a graph.
                Action::Chain(first, links) => (*first, std::mem::take(links)),
                _ => match self.link(before) {
                    Some((first, link)) => (first, vec![link]),
                    None => continue,
                },
            };
            links.push(link);
            self.drafts[at].action = Action::Chain(first, links);
            needed[before] = false;
        }
    }

    /// log(1 + exp(x)) in double is log1p(exp(x)), as LightGBM computes it. Where the sum is also read by another step
    /// that step corrects the sum's rounding, and the logarithm is that of the sum.
    fn log_one_plus_exponentials(&mut self, readers: &HashMap<u32, usize>, needed: &mut [bool]) {
        for at in 0..self.drafts.len() {
            let Action::Unary(Unary::Log, of) = self.drafts[at].action else { continue };
            let Place::Slot(sum) = of.place else { continue };
            if !needed[at] || self.drafts[at].kind != Kind::F64 || readers.get(&(sum as u32)) != Some(&1) {
                continue;
            }
            let Some(sum) = self.draft_number(sum as u32) else { continue };
            let Some((exponential, Link::With(Binary::Add, 1.0))) = self.link(sum) else { continue };
            let Some(made_by) = self.source_of(exponential.place).and_then(|source| self.draft(source))
            else {
                continue;
            };
            if !matches!(made_by.action, Action::Unary(Unary::Exp, _)) {
                continue;
            }
            // The numbers of the sum stand as those that it reads, or one of those stands for all of them.
            let begin = exponential.begin + if exponential.one { 0 } else { of.begin };
            let one = exponential.one || of.one;
            self.drafts[at].action = Action::Unary(Unary::Log1p, Operand { begin, one, ..exponential });
            needed[sum] = false;
        }
    }

    /// A step as a function of one operand, if it is one.
    fn link(&self, at: usize) -> Option<(Operand, Link)> {
        let constant = |of: &Operand| {
            let fixed = of.place == Place::Constants && of.one;
            fixed.then(|| match self.drafts[at].kind {
                Kind::F32 => f64::from(self.constants.f32[of.begin]),
                _ => self.constants.f64[of.begin],
            })
        };
        match &self.drafts[at].action {
            Action::Unary(unary, of) => Some((*of, Link::Unary(*unary))),
            Action::Binary(binary, [a, b]) => match (constant(a), constant(b)) {
                (None, Some(second)) => Some((*a, Link::With(*binary, second))),
                (Some(first), None) => Some((*b, Link::After(first, *binary))),
                _ => None,
            },
            _ => None,
        }
    }
}
