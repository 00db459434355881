//! The fields of a protobuf message, as far as the generator reads messages.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Eight or four bytes of fixed size.
    Fixed,
}

/// A field, and where its bytes, tag and all, begin and end in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    pub(crate) value: Value<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Iterates over the fields of a message. `None` in place of a field: the bytes are not a message; the iterator
/// ends there.
pub(crate) struct Fields<'a> {
    data: &'a [u8],
    at: usize,
    broken: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(data: &'a [u8]) -> Self {
        Self { data, at: 0, broken: false }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.data.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.skip(length)?)
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some(Field { number: tag >> 3, value, start, end: self.at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken || self.at == self.data.len() {
            return None;
        }
        let field = self.field();
        self.broken = field.is_none();
        Some(field)
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_values_and_places() {
        // 1: 300, 2: "ab", 3: fixed32, 4: fixed64
        let data = b"\x08\xac\x02\x12\x02ab\x1d\x01\x02\x03\x04\x21\x01\x02\x03\x04\x05\x06\x07\x08";
        let fields: Vec<_> = Fields::of(data).map(Option::unwrap).collect();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(fields[0].value, Value::Varint(300));
        assert_eq!((fields[1].value, fields[1].start, fields[1].end), (Value::Bytes(b"ab"), 3, 7));
        assert_eq!(fields[3].end, data.len());
    }

    #[test]
    fn bytes_that_are_no_message_end_the_iteration() {
        for data in [&b"\x08"[..], b"\x12\x05a", b"\x0b", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            let found: Vec<_> = Fields::of(data).collect();
            assert_eq!(found, [None], "{data:?}");
        }
        assert_eq!(Fields::of(b"").count(), 0);
    }

    #[test]
    fn a_varint_is_read_as_it_was_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut data = vec![8];
            put_varint(&mut data, value);
            assert_eq!(
                Fields::of(&data).next().flatten().map(|field| field.value),
                Some(Value::Varint(value))
            );
        }
    }
}
