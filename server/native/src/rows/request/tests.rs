use super::*;
use crate::protocol::protobuf::put_bytes_head;

fn decoded(data: &[u8]) -> Result<Request> {
    let mut request = Request::default();
    request.decode(data).map(|()| request)
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_head(&mut out, number, content.len());
    out.extend_from_slice(content);
    out
}

fn packed(numbers: &[f64]) -> Vec<u8> {
    field(2, &numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}

fn single(number: f64) -> Vec<u8> {
    [&[0x11][..], &number.to_le_bytes()].concat()
}

fn numbers(request: &Request, data: &[u8]) -> Vec<f64> {
    let chunks = request.numbers(data).chunks_exact(8);
    chunks.map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
}

#[test]
fn fields_are_read_and_the_last_counts() {
    let rows = [&packed(&[1.5, -2.0])[..], &field(3, b"de"), &[0x08, 2]].concat();
    let data = [field(1, b"other"), field(1, b"sum"), field(2, b"1.0.0"), field(5, &rows)].concat();
    let request = decoded(&data).unwrap();
    assert_eq!((request.model.text(&data), request.version.text(&data)), ("sum", "1.0.0"));
    assert_eq!(request.row_count, 2);
    assert_eq!(numbers(&request, &data), [1.5, -2.0]);
    assert_eq!(request.texts.iter().map(|text| text.text(&data)).collect::<Vec<_>>(), ["de"]);
}

#[test]
fn runs_of_doubles_are_joined_however_they_are_written() {
    let ways = [
        packed(&[1.0, 2.0, 3.0]),
        [single(1.0), single(2.0), single(3.0)].concat(),
        [packed(&[]), packed(&[1.0]), packed(&[2.0, 3.0])].concat(),
        [single(1.0), packed(&[2.0]), single(3.0), packed(&[])].concat(),
    ];
    for rows in ways {
        let data = field(5, &rows);
        assert_eq!(numbers(&decoded(&data).unwrap(), &data), [1.0, 2.0, 3.0]);
    }
}

#[test]
fn parts_of_an_explanation_are_merged_and_without_one_nothing_is_explained() {
    assert_eq!(decoded(&field(1, b"sum")).unwrap().explain, None);
    assert_eq!(decoded(&field(6, b"")).unwrap().explain, Some(Explain::default()));
    let data = [field(6, &[0x08, 3]), field(6, &field(2, b"value")), field(6, &field(9, b"more"))].concat();
    let request = decoded(&data).unwrap();
    let explain = request.explain.unwrap();
    assert_eq!((explain.top_k, explain.output.text(&data)), (3, "value"));
    // As everywhere in protobuf, a uint32 is the low half of the varint.
    let data = field(6, &[0x08, 0x85, 0x80, 0x80, 0x80, 0x10]);
    assert_eq!(decoded(&data).unwrap().explain.unwrap().top_k, 5);
    for wrong in [&b"\xff"[..], &field(2, b"\xff"), &[0x08], &[0x0b]] {
        assert_eq!(decoded(&field(6, wrong)), Err(MalformedError), "{wrong:?}");
    }
}

#[test]
fn parts_of_rows_are_merged() {
    let data = [field(5, &packed(&[1.0])), field(5, &packed(&[2.0])), field(5, &[0x08, 7])].concat();
    let request = decoded(&data).unwrap();
    assert_eq!((numbers(&request, &data), request.row_count), (vec![1.0, 2.0], 7));
}

#[test]
fn a_request_is_cleared_before_the_next() {
    let mut request = Request::default();
    let rows = [&single(1.0)[..], &single(2.0), &field(3, b"x")].concat();
    request.decode(&field(5, &rows)).unwrap();
    request.decode(b"").unwrap();
    assert_eq!(request, Request::default());
}

#[test]
fn what_is_no_message_is_malformed() {
    let cut = field(1, b"sum");
    let cases: [&[u8]; 9] = [
        b"\xff",
        &cut[..cut.len() - 1],
        &field(1, b"\xff"),
        &field(5, &field(2, &[0; 15])),
        &field(5, &field(3, b"\xed\xa0\x80")),
        b"\x00\x01",
        b"\x0c",
        b"\x3b\x43\x3c\x44",
        b"\x0e",
    ];
    for data in cases {
        assert_eq!(decoded(data).err(), Some(MalformedError), "{data:?}");
    }
}

#[test]
fn groups_nest_as_deep_as_protobuf_lets_them() {
    let nested = |depth: usize| [vec![0x3b; depth], vec![0x3c; depth]].concat();
    assert!(decoded(&nested(100)).is_ok());
    assert!(decoded(&nested(101)).is_err());
    assert!(decoded(&field(5, &nested(99))).is_ok());
    assert!(decoded(&field(5, &nested(100))).is_err());
}

#[test]
fn a_stream_message_has_an_id_and_a_request_in_parts() {
    let mut request = Request::default();
    let data = [field(2, &field(1, b"sum")), vec![0x08, 0xac, 2], field(2, &field(2, b"1"))].concat();
    request.decode_stream(&data).unwrap();
    assert_eq!(request.correlation_id, 300);
    assert_eq!((request.model.text(&data), request.version.text(&data)), ("sum", "1"));
    assert_eq!(request.decode_stream(b"\x08\x05\xff"), Err(MalformedError));
    assert_eq!(request.correlation_id, 0);
}

/// The corpus of the fuzz target, through the same checks where there is no nightly compiler.
#[test]
fn the_corpus_is_read_alike_with_used_and_fresh_memory() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        crate::fuzzing::decode(&std::fs::read(entry.unwrap().path()).unwrap())
    };
    assert!(std::fs::read_dir(folder).unwrap().map(read).filter(|legal| *legal).count() > 5);
}
