//! Vocabularies: known texts and their indices.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// What happens to a text before it is looked up or fed to the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    None,
    AsciiLowerStrip,
}

impl Fold {
    /// The folded text; `folded` is the memory for it where it differs from `text`.
    pub(crate) fn apply<'a>(self, text: &'a [u8], folded: &'a mut Vec<u8>) -> &'a [u8] {
        if self == Self::None {
            return text;
        }
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
        let Some(start) = text.iter().position(|byte| !blank(byte)) else {
            return &[];
        };
        let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        let text = &text[start..end];
        if !text.iter().any(u8::is_ascii_uppercase) {
            return text;
        }
        folded.clear();
        folded.extend(text.iter().map(u8::to_ascii_lowercase));
        folded
    }
}

/// The known texts of one feature, and the index of each.
pub(crate) struct Vocabulary {
    /// The position of the text in a row.
    pub text: usize,
    fold: Fold,
    // The keys come from the bundle, so no caller can choose keys that collide.
    index: HashMap<Box<[u8]>, u32, RandomState>,
}

impl Vocabulary {
    pub(crate) fn new(text: usize, fold: Fold, texts: Vec<String>) -> Self {
        let entries = texts.into_iter().zip(0..).map(|(text, i)| (text.into_bytes().into_boxed_slice(), i));
        Self { text, fold, index: entries.collect() }
    }

    /// The index of a text; `len` for an unknown one.
    pub(crate) fn look_up(&self, text: &[u8], folded: &mut Vec<u8>) -> u32 {
        let key = self.fold.apply(text, folded);
        self.index.get(key).copied().unwrap_or(self.index.len() as u32)
    }

    /// How many texts are known.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}
