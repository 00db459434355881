//! The form with AVX-512.

use std::arch::x86_64::*;
use std::ops::RangeInclusive;

use crate::trees::coded::{self, CodedTree, Codings};
use crate::trees::element::Element;
use crate::trees::ensemble::Ensemble;
use crate::trees::forms::deep::cut::{self, Cut, Subtree};
use crate::trees::forms::masks::exclusions::{Exclusions, TreeGroup};
use crate::trees::forms::masks::order::Order;
use crate::trees::forms::scalar::{Scalars, SixteenTrees};
use crate::trees::forms::{Form, FormName};
use crate::trees::prefetch;
use crate::trees::scratch::Scratch;
use crate::trees::search::bytes::{ByteCoder, PLACES, look_up};

/// The most subtrees of a tree.
const MOST_SUBTREES: usize = 256;
/// Groups of trees whose subtrees are found, and fetched from memory, before the first of them is asked.
const AHEAD: usize = 8;

/// The splits of a subtree. There are at most seven: the last bound is above nothing, and the last place and the last
/// byte of leaves are the low and the high byte of the number of the subtree's first leaf.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Splits {
    places: [u8; 8],
    bounds: [u8; 8],
    /// The leaves that each rules out, the first one as the highest bit.
    leaves: [u8; 8],
}

impl Splits {
    /// Of a subtree with one leaf.
    const NONE: Self = Self { places: [0; 8], bounds: [255; 8], leaves: [0; 8] };
}

/// Trees that are asked together.
#[derive(Debug, Clone)]
struct Group {
    top: TreeGroup,
    /// The first subtree of each.
    firsts: [u32; 16],
    trees: SixteenTrees,
}

/// The form. `I` are values of rows, `S` are sums.
struct Deep<I, S> {
    coder: ByteCoder<I>,
    features: usize,
    exclusions: Exclusions,
    groups: Vec<Group>,
    /// The first one stands for trees beyond the last one. The last one is of no tree: loads read a part of what follows
    /// a subtree.
    subtrees: Vec<Splits>,
    leaves: Scalars<S>,
}

/// The form; `None` without AVX-512, or where a tree has too many subtrees, its leaves add to several targets, or splits
/// read too many places.
pub(crate) fn make<I: Element, S: Element>(codings: &Codings<'_>) -> Option<Box<dyn Form<I, S>>> {
    Some(Box::new(Deep::<I, S>::new(codings)?))
}

impl<I: Element, S: Element> Deep<I, S> {
    fn new(codings: &Codings<'_>) -> Option<Self> {
        // So the numbers of leaves have 16 bits.
        let is_large =
            codings.leaves > MOST_SUBTREES * cut::MOST || codings.columns(coded::MOST_IN_BYTE) > PLACES;
        if is_large {
            return None;
        }
        let targets = codings.targets.as_ref()?;
        let (ensemble, coded) = (codings.ensemble, codings.coded(coded::MOST_IN_BYTE));
        let coder = ByteCoder::new(coded, ensemble.features)?;
        let cuts: Vec<_> = coded.trees.iter().map(Cut::new).collect();
        if cuts.iter().any(|cut| cut.subtrees.len() > MOST_SUBTREES) {
            return None;
        }
        let mut made = Self {
            coder,
            features: ensemble.features,
            exclusions: Exclusions::default(),
            groups: Vec::new(),
            subtrees: vec![Splits::NONE],
            leaves: Scalars::new(ensemble),
        };
        let (mut trees, mut cuts, mut targets) = (&coded.trees[..], &cuts[..], &targets[..]);
        while !trees.is_empty() {
            let count = trees.len().min(TreeGroup::size(cuts.iter().map(|cut| cut.subtrees.len())));
            made.push(ensemble, &trees[..count], &cuts[..count], targets)?;
            (trees, cuts, targets) = (&trees[count..], &cuts[count..], &targets[count..]);
        }
        made.subtrees.push(Splits::NONE);
        Some(made)
    }

    fn push(
        &mut self,
        ensemble: &Ensemble,
        trees: &[CodedTree],
        cuts: &[Cut],
        targets: &[usize],
    ) -> Option<()> {
        let tops: Vec<_> = cuts.iter().map(|cut| cut.top.clone()).collect();
        let orders: Vec<_> = tops.iter().map(Order::new).collect();
        let top = self.exclusions.push(&tops, &orders, &self.coder);
        let (mut firsts, mut leaves) = ([0; 16], Vec::new());
        for (((tree, cut), order), first) in trees.iter().zip(cuts).zip(&orders).zip(&mut firsts) {
            *first = u32::try_from(self.subtrees.len()).ok()?;
            let mut vectors = Vec::with_capacity(tree.leaves.len());
            for at in &order.leaves {
                let subtree = Subtree::new(tree, cut.subtrees[*at as usize]);
                self.subtrees.push(self.splits(&subtree, vectors.len() as u16));
                vectors.extend(subtree.leaves.iter().map(|leaf| tree.leaves[*leaf as usize]));
            }
            leaves.push(vectors);
        }
        let trees = self.leaves.push(ensemble, leaves.into_iter().map(Vec::into_iter), targets)?;
        self.groups.push(Group { top, firsts, trees });
        Some(())
    }

    fn splits(&self, subtree: &Subtree<'_>, first: u16) -> Splits {
        let mut splits = Splits::NONE;
        for (i, (split, ruled)) in subtree.splits.iter().enumerate() {
            (splits.places[i], splits.bounds[i]) = self.coder.place(split);
            splits.leaves[i] = ruled.clone().map(|leaf| 128_u8 >> leaf).sum();
        }
        [splits.places[cut::MOST - 1], splits.leaves[cut::MOST - 1]] = first.to_le_bytes();
        splits
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,avx512cd,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn run<const LINES: usize>(&self, rows: &[I], sums: &mut [S]) {
        let each = rows.chunks_exact(self.features).zip(sums.chunks_exact_mut(self.leaves.targets()));
        for (row, sums) in each {
            let table = [self.coder.table::<LINES>(row)];
            self.leaves.begin(sums);
            for groups in self.groups.chunks(AHEAD) {
                let mut found = [[0_u32; 16]; AHEAD];
                for (group, found) in groups.iter().zip(&mut found) {
                    self.exclusions.leaves(&group.top, &table, |leaves| *found = self.find(group, leaves));
                }
                for (group, found) in groups.iter().zip(&found) {
                    let (count, low) = (if group.top.is_narrow { 16 } else { 8 }, &found[..8]);
                    let mut leaves = _mm512_zextsi256_si512(self.ask(low, &table[0]));
                    if group.top.is_narrow {
                        leaves = _mm512_inserti64x4::<1>(leaves, self.ask(&found[8..], &table[0]));
                    }
                    self.leaves.found(&group.trees, leaves).add(count, sums);
                }
            }
        }
    }

    /// The subtrees of sixteen trees, given the number of each in its tree; fetches them from memory.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn find(&self, group: &Group, numbers: __m512i) -> [u32; 16] {
        let mut found = [0; 16];
        // SAFETY: both arrays have the bytes of a vector.
        unsafe {
            let firsts = _mm512_loadu_si512(group.firsts.as_ptr().cast());
            _mm512_storeu_si512(found.as_mut_ptr().cast(), _mm512_add_epi32(firsts, numbers));
        }
        for at in &found[..if group.top.is_narrow { 16 } else { 8 }] {
            prefetch::into_first_cache(self.subtrees.as_ptr().wrapping_add(*at as usize));
        }
        found
    }

    /// The leaves, by their numbers in their trees, to which a row comes in eight subtrees.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512cd")]
    fn ask<const LINES: usize>(&self, subtrees: &[u32], table: &[__m512i; LINES]) -> __m256i {
        let end = self.subtrees.len() - 1;
        assert!(subtrees.len() == 8);
        // 32 bytes of a subtree: its places, bounds and leaves, and 8 bytes of the next.
        let load = |i: usize| {
            let at = subtrees[i] as usize;
            assert!(at < end, "each subtree has a next one");
            // SAFETY: this one and the next are 48 bytes.
            unsafe { _mm256_loadu_si256(self.subtrees.as_ptr().add(at).cast()) }
        };
        let pair = |i: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load(i)), load(i + 1));
        let (a, b, c, d) = (pair(0), pair(2), pair(4), pair(6));
        let asked = _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13);
        let (ab, cd) = (_mm512_permutex2var_epi64(a, asked, b), _mm512_permutex2var_epi64(c, asked, d));
        let ruled = _mm512_setr_epi64(2, 6, 10, 14, 0, 0, 0, 0);
        let (ab_leaves, cd_leaves) =
            (_mm512_permutex2var_epi64(a, ruled, b), _mm512_permutex2var_epi64(c, ruled, d));
        let places = _mm512_inserti64x4::<1>(ab, _mm512_castsi512_si256(cd));
        let bounds = _mm512_shuffle_i64x2::<0b11_10_11_10>(ab, cd);
        let leaves = _mm512_inserti64x4::<1>(ab_leaves, _mm512_castsi512_si256(cd_leaves));

        let out = _mm512_cmpgt_epu8_mask(look_up(table, places), bounds);
        let mut out = _mm512_maskz_mov_epi8(out, leaves);
        out = _mm512_or_si512(out, _mm512_rol_epi64::<32>(out));
        out = _mm512_or_si512(out, _mm512_rol_epi64::<16>(out));
        out = _mm512_or_si512(out, _mm512_rol_epi64::<8>(out));
        let within = _mm512_lzcnt_epi64(_mm512_xor_si512(out, _mm512_set1_epi8(-1)));
        let high = _mm512_slli_epi64::<8>(_mm512_srli_epi64::<56>(leaves));
        let first = _mm512_or_si512(_mm512_srli_epi64::<56>(places), high);
        _mm512_cvtepi64_epi32(_mm512_add_epi64(first, within))
    }
}

impl<I: Element, S: Element> Form<I, S> for Deep<I, S> {
    fn name(&self) -> FormName {
        FormName::Deep
    }

    fn rows(&self) -> RangeInclusive<usize> {
        1..=64
    }

    fn bytes(&self) -> usize {
        let groups = self.groups.len() * size_of::<Group>() + self.subtrees.len() * size_of::<Splits>();
        self.coder.bytes() + self.exclusions.bytes() + groups + self.leaves.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], _: &mut Scratch) {
        // SAFETY: the coder is only made where AVX-512 is supported.
        unsafe {
            match self.coder.lines() {
                1 => self.run::<1>(rows, sums),
                2 => self.run::<2>(rows, sums),
                _ => self.run::<4>(rows, sums),
            }
        }
    }
}
