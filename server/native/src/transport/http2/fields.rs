//! The header fields of responses, in the form that nghttp2 takes.

use std::borrow::Cow;

use libnghttp2_sys as ng;

/// The largest number of fields in one block.
const MAX_FIELDS: usize = 6;

/// A header field of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderField {
    pub name: &'static str,
    pub value: Cow<'static, str>,
}

impl HeaderField {
    pub(crate) const fn fixed(name: &'static str, value: &'static str) -> Self {
        Self { name, value: Cow::Borrowed(value) }
    }

    pub(super) fn raw(&self) -> ng::nghttp2_nv {
        let (value, flags) = match &self.value {
            Cow::Borrowed(value) => (*value, ng::NGHTTP2_NV_FLAG_NO_COPY_VALUE),
            Cow::Owned(value) => (value.as_str(), ng::NGHTTP2_NV_FLAG_NONE),
        };
        raw_field(self.name, value, flags)
    }
}

/// A field in nghttp2's form. nghttp2 never copies the name, and copies the value unless `flags` has
/// NO_COPY_VALUE.
const fn raw_field(name: &'static str, value: &str, flags: ng::nghttp2_nv_flag) -> ng::nghttp2_nv {
    ng::nghttp2_nv {
        name: name.as_ptr().cast_mut(),
        value: value.as_ptr().cast_mut(),
        namelen: name.len(),
        valuelen: value.len(),
        flags: (flags | ng::NGHTTP2_NV_FLAG_NO_COPY_NAME) as u8,
    }
}

/// An array that is filled with the fields of one block.
const NO_FIELDS: [ng::nghttp2_nv; MAX_FIELDS] = [raw_field("", "", ng::NGHTTP2_NV_FLAG_NONE); MAX_FIELDS];

/// The fixed fields that responses begin with, put into nghttp2's form at compile time.
#[derive(Debug)]
pub(crate) struct InitialFields {
    pub fields: &'static [HeaderField],
    raw: [ng::nghttp2_nv; MAX_FIELDS],
}

// SAFETY: the raw pointers are to static strings, which nobody changes.
unsafe impl Sync for InitialFields {}

impl InitialFields {
    /// # Panics
    /// A value is not static, or there are more than `MAX_FIELDS` fields. Statics are made at compile time, so
    /// that a panic is an error of the build.
    pub(crate) const fn new(fields: &'static [HeaderField]) -> Self {
        let mut raw = NO_FIELDS;
        let mut i = 0;
        while i < fields.len() {
            let Cow::Borrowed(value) = &fields[i].value else {
                panic!("the value of an initial field is not static")
            };
            raw[i] = raw_field(fields[i].name, value, ng::NGHTTP2_NV_FLAG_NO_COPY_VALUE);
            i += 1;
        }
        Self { fields, raw }
    }

    pub(super) fn raw(&self) -> &[ng::nghttp2_nv] {
        &self.raw[..self.fields.len()]
    }
}

/// A block of header fields that is not fixed, such as trailers.
pub(crate) type HeaderFields = Cow<'static, [HeaderField]>;

/// Puts the fields of one block into nghttp2's form. Returns an array and the number of its fields.
pub(super) fn raw_fields(fields: &[HeaderField]) -> ([ng::nghttp2_nv; MAX_FIELDS], usize) {
    debug_assert!(fields.len() <= MAX_FIELDS);
    let mut raw = NO_FIELDS;
    let mut count = 0;
    for (slot, field) in raw.iter_mut().zip(fields) {
        *slot = field.raw();
        count += 1;
    }
    (raw, count)
}
