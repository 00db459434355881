//! The form with AVX-512.

use std::arch::x86_64::*;

use crate::trees::coded::{self, Codings};
use crate::trees::element::Element;
use crate::trees::forms::masks::exclusions::{Exclusions, TreeGroup};
use crate::trees::forms::masks::order::Order;
use crate::trees::forms::scalar::{Scalars, SixteenTrees};
use crate::trees::forms::{Form, FormName};
use crate::trees::scratch::Scratch;
use crate::trees::search::bytes::{ByteCoder, PLACES};

/// The most leaves of a tree.
const MOST_LEAVES: usize = 256;

/// Rows whose tables are held at once.
const BLOCK: usize = 64;
/// Rows that share the loads of exclusions.
const TOGETHER: usize = 4;

/// The form. `I` are values of rows, `S` are sums.
struct Masks<I, S> {
    coder: ByteCoder<I>,
    features: usize,
    exclusions: Exclusions,
    groups: Vec<(TreeGroup, SixteenTrees)>,
    leaves: Scalars<S>,
}

/// The form; `None` without AVX-512, or where a tree has too many leaves, its leaves add to several targets, or splits
/// read too many places.
pub(crate) fn make<I: Element, S: Element>(codings: &Codings<'_>) -> Option<Box<dyn Form<I, S>>> {
    Some(Box::new(Masks::<I, S>::new(codings)?))
}

impl<I: Element, S: Element> Masks<I, S> {
    fn new(codings: &Codings<'_>) -> Option<Self> {
        let is_large = codings.leaves > MOST_LEAVES || codings.columns(coded::MOST_IN_BYTE) > PLACES;
        if is_large {
            return None;
        }
        let (ensemble, coded) = (codings.ensemble, codings.coded(coded::MOST_IN_BYTE));
        let coder = ByteCoder::new(coded, ensemble.features)?;
        let mut exclusions = Exclusions::default();
        let mut leaves = Scalars::new(ensemble);
        let mut groups = Vec::new();
        let (mut rest, mut targets) = (&coded.trees[..], &codings.targets.as_ref()?[..]);
        while !rest.is_empty() {
            let count = rest.len().min(TreeGroup::size(rest.iter().map(|tree| tree.leaves.len())));
            let (trees, later) = rest.split_at(count);
            let orders: Vec<_> = trees.iter().map(Order::new).collect();
            let ordered = orders.iter().zip(trees).map(|(order, tree)| order.vectors(tree));
            let sixteen = leaves.push(ensemble, ordered, targets)?;
            groups.push((exclusions.push(trees, &orders, &coder), sixteen));
            (rest, targets) = (later, &targets[count..]);
        }
        Some(Self { coder, features: ensemble.features, exclusions, groups, leaves })
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512cd,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn one<const LINES: usize>(&self, row: &[I], sums: &mut [S]) {
        let table = [self.coder.table::<LINES>(row)];
        self.leaves.begin(sums);
        for (group, trees) in &self.groups {
            self.add(group, trees, &table, sums);
        }
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512cd,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn many<const LINES: usize>(&self, rows: &[I], sums: &mut [S]) {
        let targets = self.leaves.targets();
        let mut tables = [[[_mm512_setzero_si512(); LINES]; TOGETHER]; BLOCK / TOGETHER];
        let blocks = rows.chunks(BLOCK * self.features).zip(sums.chunks_mut(BLOCK * targets));
        for (rows, sums) in blocks {
            let each = rows.chunks_exact(self.features).zip(sums.chunks_exact_mut(targets));
            for (table, (row, sums)) in tables.as_flattened_mut().iter_mut().zip(each) {
                *table = self.coder.table(row);
                self.leaves.begin(sums);
            }
            for (group, trees) in &self.groups {
                for (tables, sums) in tables.iter().zip(sums.chunks_mut(TOGETHER * targets)) {
                    self.add(group, trees, tables, sums);
                }
            }
        }
    }

    /// Adds the leaves of trees to the sums of rows, of which there may be fewer than tables.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512cd,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn add<const LINES: usize, const ROWS: usize>(
        &self,
        group: &TreeGroup,
        trees: &SixteenTrees,
        tables: &[[__m512i; LINES]; ROWS],
        sums: &mut [S],
    ) {
        let count = if group.is_narrow { 16 } else { 8 };
        let mut each = sums.chunks_exact_mut(self.leaves.targets());
        self.exclusions.leaves(group, tables, |leaves| {
            if let Some(sums) = each.next() {
                self.leaves.found(trees, leaves).add(count, sums);
            }
        });
    }
}

impl<I: Element, S: Element> Form<I, S> for Masks<I, S> {
    fn name(&self) -> FormName {
        FormName::Masks
    }

    fn bytes(&self) -> usize {
        let groups = self.groups.len() * size_of::<(TreeGroup, SixteenTrees)>();
        self.coder.bytes() + self.exclusions.bytes() + groups + self.leaves.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], _: &mut Scratch) {
        // SAFETY: the coder is only made where AVX-512 is supported.
        unsafe {
            match (self.coder.lines(), rows.len() == self.features) {
                (1, true) => self.one::<1>(rows, sums),
                (1, false) => self.many::<1>(rows, sums),
                (2, true) => self.one::<2>(rows, sums),
                (2, false) => self.many::<2>(rows, sums),
                (_, true) => self.one::<4>(rows, sums),
                (_, false) => self.many::<4>(rows, sums),
            }
        }
    }
}
