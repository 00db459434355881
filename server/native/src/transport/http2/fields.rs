//! The header fields that are sent, in the form that nghttp2 takes.

use std::borrow::Cow;

use libnghttp2_sys as ng;

/// The most fields of one block.
const MAX_FIELDS: usize = 6;

/// A field that is sent.
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

/// A field for nghttp2, which copies a value that is not static, but no name.
const fn raw_field(name: &'static str, value: &str, flags: ng::nghttp2_nv_flag) -> ng::nghttp2_nv {
    ng::nghttp2_nv {
        name: name.as_ptr().cast_mut(),
        value: value.as_ptr().cast_mut(),
        namelen: name.len(),
        valuelen: value.len(),
        flags: (flags | ng::NGHTTP2_NV_FLAG_NO_COPY_NAME) as u8,
    }
}

/// Places for the fields of one block.
const NO_FIELDS: [ng::nghttp2_nv; MAX_FIELDS] = [raw_field("", "", ng::NGHTTP2_NV_FLAG_NONE); MAX_FIELDS];

/// The fixed fields that answers begin with, made ready for nghttp2 once.
#[derive(Debug)]
pub(crate) struct InitialFields {
    pub fields: &'static [HeaderField],
    raw: [ng::nghttp2_nv; MAX_FIELDS],
}

// SAFETY: what it refers to is static, and nobody changes it.
unsafe impl Sync for InitialFields {}

impl InitialFields {
    pub(crate) const fn new(fields: &'static [HeaderField]) -> Self {
        let mut raw = NO_FIELDS;
        let mut i = 0;
        while i < fields.len() {
            let Cow::Borrowed(value) = &fields[i].value else { panic!("not fixed") };
            raw[i] = raw_field(fields[i].name, value, ng::NGHTTP2_NV_FLAG_NO_COPY_VALUE);
            i += 1;
        }
        Self { fields, raw }
    }

    pub(super) fn raw(&self) -> &[ng::nghttp2_nv] {
        &self.raw[..self.fields.len()]
    }
}

/// HeaderFields that end a call.
pub(crate) type HeaderFields = Cow<'static, [HeaderField]>;

pub(super) fn raw_fields(fields: &[HeaderField]) -> ([ng::nghttp2_nv; MAX_FIELDS], usize) {
    debug_assert!(fields.len() <= MAX_FIELDS);
    let mut raw = NO_FIELDS;
    let mut count = 0;
    for (place, field) in raw.iter_mut().zip(fields) {
        *place = field.raw();
        count += 1;
    }
    (raw, count)
}
