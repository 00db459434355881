//! The wire format of Protocol Buffers, as much as ONNX models need.
//!
//! Nothing is copied, and no number in the bytes sizes an allocation: a length is checked against the bytes that
//! are there.

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers, in the order of the bytes. It ends after the first error.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let tag = varint(&mut self.rest)?;
        let value = match tag & 7 {
            0 => Field::Varint(varint(&mut self.rest)?),
            1 => Field::Fixed64(fixed(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(fixed(&mut self.rest)?),
            _ => return Err(Malformed),
        };
        if tag >> 3 == 0 { Err(Malformed) } else { Ok((tag >> 3, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(crate) fn integer(self) -> Result<i64, Malformed> {
        if let Self::Varint(value) = self { Ok(value as i64) } else { Err(Malformed) }
    }

    pub(crate) fn float(self) -> Result<f32, Malformed> {
        if let Self::Fixed32(bytes) = self { Ok(f32::from_le_bytes(bytes)) } else { Err(Malformed) }
    }

    /// Adds the integers of a repeated field, packed or not.
    pub(crate) fn push_integers(self, to: &mut Vec<i64>) -> Result<(), Malformed> {
        match self {
            Self::Varint(value) => to.push(value as i64),
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    to.push(varint(&mut packed)? as i64);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Adds the floats of a repeated field, packed or not.
    pub(crate) fn push_floats(self, to: &mut Vec<f32>) -> Result<(), Malformed> {
        match self {
            Self::Fixed32(bytes) => to.push(f32::from_le_bytes(bytes)),
            Self::Bytes(packed) => to.extend(chunks(packed)?.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// Adds the doubles of a repeated field, packed or not.
    pub(crate) fn push_doubles(self, to: &mut Vec<f64>) -> Result<(), Malformed> {
        match self {
            Self::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes)),
            Self::Bytes(packed) => to.extend(chunks(packed)?.iter().map(|bytes| f64::from_le_bytes(*bytes))),
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// Bytes as items of `N` bytes each.
pub(crate) fn chunks<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], Malformed> {
    let (items, rest) = bytes.as_chunks();
    if rest.is_empty() { Ok(items) } else { Err(Malformed) }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (value, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*value)
}
