//! The test vectors of the format, which Python reads and writes as well.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::block::{FORMAT, HEADER_BYTES, Header, kind};
use crate::columns::{Columns, FIXED_SECTIONS, Shape};
use crate::ledger::{self, Count};
use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::reader::{Piece, read_segment, sections, texts};
use crate::record::{Record, Texts};
use crate::source::{Hasher, Output, Source, Treatment};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../tests/records/vectors")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// A segment and what is in it, for each pair of files.
fn segments() -> Vec<(String, Vec<u8>, Vec<Value>)> {
    let paths = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let contents = json(&format!("{name}.json")).as_array().unwrap().clone();
            (name, fs::read(path).unwrap(), contents)
        })
        .collect();
    assert!(found.len() >= 5);
    found
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

fn header(value: &Value) -> Header {
    let uuid = value["start"].as_str().unwrap().replace('-', "");
    let small = |name: &str| u32::try_from(number(&value[name])).unwrap();
    Header {
        format: u16::try_from(number(&value["format"])).unwrap(),
        kind: u16::try_from(number(&value["kind"])).unwrap(),
        body_bytes: small("body_bytes"),
        start: u128::from_str_radix(&uuid, 16).unwrap().to_be_bytes(),
        number: number(&value["number"]),
        source: small("source"),
        body_crc: u32::try_from(hex(&value["body_crc"])).unwrap(),
        predictions: small("predictions"),
        rows: small("rows"),
        first_sequence: number(&value["first_sequence"]),
        predictions_before: number(&value["predictions_before"]),
        rows_before: number(&value["rows_before"]),
        fingerprint: hex(&value["fingerprint"]),
    }
}

#[test]
fn segments_hold_what_their_json_says() {
    for (name, bytes, contents) in segments() {
        let pieces: Vec<_> = read_segment(&bytes, false).collect();
        assert_eq!(pieces.len(), contents.len(), "{name}");
        for (piece, expected) in pieces.iter().zip(&contents) {
            match piece {
                Piece::Block { offset, header: found, .. } => {
                    assert_eq!(*offset as u64, number(&expected["offset"]), "{name}");
                    assert_eq!(*found, header(expected), "{name}");
                }
                Piece::Damage { offset, bytes, is_torn } => {
                    let range = [*offset as u64, (offset + bytes.len()) as u64];
                    assert_eq!(expected["damaged"], Value::from(range.to_vec()), "{name}");
                    assert_eq!(expected["torn"], Value::from(*is_torn), "{name}");
                }
            }
        }
    }
}

#[test]
fn blocks_are_written_as_they_were_read() {
    for (name, segment, contents) in segments() {
        let mut sources: Vec<Source> = Vec::new();
        for (piece, expected) in read_segment(&segment, false).zip(&contents) {
            let Piece::Block { offset, header, body } = piece else { continue };
            assert_eq!(header.encode(), segment[offset..offset + HEADER_BYTES], "{name}");
            match header.kind {
                kind::SOURCE => sources.push(source(&expected["json"])),
                kind::ROWS => {
                    let source = sources.iter().find(|source| source.number == header.source).unwrap();
                    check_rows(source, &header, body, &expected["columns"]);
                }
                kind::LEDGER => check_ledger(body, &expected["writers"]),
                _ => {}
            }
        }
    }
}

/// Where each whole block is.
fn blocks(segment: &[u8], growing: bool) -> Vec<std::ops::Range<usize>> {
    let pieces = read_segment(segment, growing).filter_map(|piece| match piece {
        Piece::Block { offset, body, .. } => Some(offset..offset + HEADER_BYTES + body.len()),
        Piece::Damage { .. } => None,
    });
    pieces.collect()
}

#[test]
fn a_segment_that_ends_anywhere_has_the_whole_blocks_before_and_a_torn_tail() {
    let whole = fs::read(folder().join("whole.segment")).unwrap();
    let all = blocks(&whole, false);
    assert_eq!(all.last().map(|block| block.end), Some(whole.len()));
    for end in 0..whole.len() {
        let count = all.iter().filter(|block| block.end <= end).count();
        let begin = all[..count].last().map_or(0, |block| block.end);
        assert_eq!(blocks(&whole[..end], false), all[..count], "{end}");
        let tail = read_segment(&whole[..end], false).nth(count);
        let torn = Piece::Damage { offset: begin, bytes: &whole[begin..end], is_torn: true };
        assert_eq!(tail, (begin < end).then_some(torn), "{end}");
        // While the segment may grow, the tail is not there yet.
        assert_eq!(read_segment(&whole[..end], true).count(), count, "{end}");
    }
}

#[test]
fn a_flipped_byte_anywhere_loses_exactly_its_block() {
    let mut segment = fs::read(folder().join("whole.segment")).unwrap();
    let all = blocks(&segment, false);
    for at in 0..segment.len() {
        segment[at] ^= 0x10;
        let lost = all.iter().position(|block| block.contains(&at)).unwrap();
        let pieces: Vec<_> = read_segment(&segment, false).collect();
        assert_eq!(pieces.len(), all.len(), "{at}");
        for (index, (piece, block)) in pieces.iter().zip(&all).enumerate() {
            match piece {
                Piece::Block { offset, .. } => {
                    assert_eq!((*offset, index == lost), (block.start, false), "{at}")
                }
                Piece::Damage { offset, bytes, .. } => {
                    assert_eq!((*offset, bytes.len(), index), (block.start, block.len(), lost), "{at}");
                }
            }
        }
        segment[at] ^= 0x10;
    }
}

#[test]
fn hashes_are_those_of_python() {
    let vectors = json("hashes.json");
    let key = vectors["key"].as_str().unwrap();
    let bytes = (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap());
    let hasher = Hasher::new(&bytes.collect::<Vec<u8>>());
    for (text, expected) in vectors["texts"].as_object().unwrap().iter().filter(|(text, _)| !text.is_empty())
    {
        assert_eq!(hasher.digits(text.as_bytes()), expected.as_str().unwrap().as_bytes(), "{text}");
    }
    for pair in vectors["numbers"].as_array().unwrap() {
        let value: f64 = pair[0].as_str().unwrap().parse().unwrap();
        assert_eq!(hasher.digits(&value.to_le_bytes()), pair[1].as_str().unwrap().as_bytes(), "{value}");
    }
}

/// A source that keeps all columns as they are in its blocks.
fn source(json: &Value) -> Source {
    let count = |name: &str| json[name].as_array().unwrap().len();
    let outputs = json["outputs"].as_array().unwrap().iter().map(|output| {
        let width = number(&output["width"]) as usize;
        if output["kind"] == "text" { Output::Texts(width) } else { Output::Numbers(width) }
    });
    Source {
        number: number(&json["source"]) as u32,
        shadow: json["kind"] == "shadow",
        numbers: vec![Treatment::Keep; count("numbers")],
        texts: vec![Treatment::Keep; count("texts")],
        outputs: outputs.collect(),
        ..Source::default()
    }
}

fn check_ledger(body: &[u8], expected: &Value) {
    let writers = ledger::decode(body).unwrap();
    assert_eq!(writers.len(), expected.as_array().unwrap().len());
    for (writer, expected) in writers.iter().zip(expected.as_array().unwrap()) {
        assert_eq!(writer.next_sequence, number(&expected["next_sequence"]));
        for (name, Count { predictions, rows }) in [
            ("sampled_out", writer.sampled_out),
            ("spooled", writer.spooled),
            ("ring_full", writer.ring_full),
            ("too_large", writer.too_large),
            ("spool_full", writer.spool_full),
            ("disk", writer.disk),
        ] {
            assert_eq!(expected[name], Value::from(vec![predictions, rows]), "{name}");
        }
    }
    let mut written = Vec::new();
    ledger::encode(&writers, &mut written);
    assert_eq!(written, body);
}

/// Compares the columns with JSON, and writes the records again.
fn check_rows(source: &Source, header: &Header, body: &[u8], expected: &Value) {
    let found = sections(body).unwrap();
    let (predictions, rows) = (header.predictions as usize, header.rows as usize);
    // Format 1 had no principals.
    let fixed = if header.format == FORMAT { FIXED_SECTIONS } else { FIXED_SECTIONS - 2 };
    assert_eq!(found.len(), fixed + source.outputs.len());
    for (index, size, name) in [
        (0, 8, "sequences"),
        (1, 8, "times_us"),
        (2, 4, "server_us"),
        (3, 4, "model_us"),
        (4, 4, "first_rows"),
        (5, 4, "row_counts"),
        (6, 2, "writers"),
        (7, 2, "flags"),
        (8, 8, "original_sequences"),
        (9, 2, "original_writers"),
        (14, 4, "error_rows"),
        (15, 2, "error_reasons"),
        (16, 2, "error_features"),
    ] {
        let values: Vec<u64> = found[index].chunks_exact(size).map(unsigned).collect();
        assert_eq!(Value::from(values), expected[name], "{name}");
    }
    let named = |section: &[u8], count: usize| -> Vec<String> {
        let texts = texts(section, count).unwrap();
        texts.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    };
    assert_eq!(Value::from(named(found[10], predictions)), expected["callers"]);
    assert_eq!(Value::from(named(found[11], predictions)), expected["routing_keys"]);
    assert_eq!(doubles(found[12]), flat(&expected["numbers"]));
    assert_eq!(Value::from(named(found[13], rows * source.texts.len())), expected["texts"]);
    let outputs = expected["outputs"].as_object().unwrap();
    assert_eq!(outputs.len(), source.outputs.len());
    let names = ["probability", "label", "pairs", "class", "values"];
    let mut at = fixed;
    for name in names.iter().filter(|name| outputs.contains_key(**name)) {
        match source.outputs[at - fixed] {
            Output::Numbers(_) => assert_eq!(doubles(found[at]), flat(&outputs[*name]), "{name}"),
            Output::Texts(width) => {
                assert_eq!(Value::from(named(found[at], rows * width)), outputs[*name], "{name}");
            }
        }
        at += 1;
    }
    assert_eq!(at, found.len());
    if header.format == FORMAT {
        let principals = principals(&found, predictions);
        assert_eq!(Value::from(principals.clone()), expected["principals"]);
        check_written_again(source, header, &found, &principals, body);
    }
}

/// The principal of each prediction.
fn principals(found: &[&[u8]], predictions: usize) -> Vec<String> {
    let places = match found[17] {
        [] => vec![0; predictions],
        section => section.chunks_exact(2).map(|place| usize::from(u16_at(place, 0))).collect(),
    };
    let different = texts(found[18], places.iter().max().unwrap() + 1).unwrap();
    places.iter().map(|&place| String::from_utf8(different[place].to_vec()).unwrap()).collect()
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Numbers by their bits; all NaN are alike.
fn doubles(section: &[u8]) -> Vec<Option<u64>> {
    let values = section.chunks_exact(8).map(|value| f64::from_bits(u64_at(value, 0)));
    values.map(|value| (!value.is_nan()).then(|| value.to_bits())).collect()
}

fn flat(value: &Value) -> Vec<Option<u64>> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        value => vec![value.as_f64().map(f64::to_bits)],
    }
}

/// Texts of some rows as they stand in a ring: without the 0 before their ends.
fn slice(section: &[u8], count: usize, range: std::ops::Range<usize>) -> (Vec<u8>, Vec<u8>) {
    let all = texts(section, count).unwrap();
    let bytes = all[range.clone()].concat();
    let lengths = all[range].iter().map(|text| text.len() as u32);
    let ends = lengths.scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    (ends.flat_map(u32::to_le_bytes).collect(), bytes)
}

fn check_written_again(
    source: &Source,
    header: &Header,
    found: &[&[u8]],
    principals: &[String],
    body: &[u8],
) {
    let shape = Shape::new(source.clone());
    let mut columns = Columns::default();
    columns.begin(&shape);
    let (predictions, rows) = (header.predictions as usize, header.rows as usize);
    let mut first = 0;
    for (index, principal) in principals.iter().enumerate() {
        let count = u32_at(found[5], 4 * index) as usize;
        let range = first..first + count;
        let per_row = |width: usize| range.start * width..range.end * width;
        let texts_of = |section: &[u8], width: usize| slice(section, rows * width, per_row(width));
        let (mut numbers, mut ends, mut text_bytes) = (Vec::new(), Vec::new(), Vec::new());
        for (output, section) in source.outputs.iter().zip(&found[FIXED_SECTIONS..]) {
            match output {
                Output::Numbers(width) => numbers.extend_from_slice(&section[per_row(8 * width)]),
                Output::Texts(width) => {
                    let (more, bytes) = texts_of(section, *width);
                    let base = text_bytes.len() as u32;
                    ends.extend(more.chunks_exact(4).flat_map(|end| (base + u32_at(end, 0)).to_le_bytes()));
                    text_bytes.extend(bytes);
                }
            }
        }
        let errors = (0..found[14].len() / 4).filter_map(|error| {
            let row =
                (u32_at(found[14], 4 * error) as usize).checked_sub(first).filter(|&row| row < count)?;
            let (reason, feature) = (u16_at(found[15], 2 * error), u16_at(found[16], 2 * error));
            Some(row as u64 | u64::from(reason) << 32 | u64::from(feature) << 48)
        });
        let (text_ends, texts_bytes) = texts_of(found[13], source.texts.len());
        let shadow = source.shadow;
        let record = Record {
            source: source.number,
            sequence: u64_at(found[0], 8 * index),
            at_ns: 0,
            server_us: u32_at(found[2], 4 * index),
            model_us: u32_at(found[3], 4 * index),
            first_row: u32_at(found[4], 4 * index),
            row_count: count as u32,
            flags: u16_at(found[7], 2 * index),
            original_writer: if shadow { u16_at(found[9], 2 * index) } else { u16::MAX },
            original_sequence: if shadow { u64_at(found[8], 8 * index) } else { 0 },
            caller: texts(found[10], predictions).unwrap()[index],
            principal: principal.as_bytes(),
            routing_key: texts(found[11], predictions).unwrap()[index],
            numbers: &found[12][per_row(8 * source.numbers.len())],
            texts: Texts { ends: &text_ends, bytes: &texts_bytes },
            outputs: &numbers,
            output_texts: Texts { ends: &ends, bytes: &text_bytes },
            errors: &errors.flat_map(u64::to_le_bytes).collect::<Vec<u8>>(),
        };
        assert!(shape.fits(&record));
        columns.push(&shape, &record, u16_at(found[6], 2 * index), u64_at(found[1], 8 * index) as i64);
        first += count;
    }
    assert_eq!(
        (columns.predictions, columns.rows, columns.first_sequence),
        (header.predictions, header.rows, header.first_sequence)
    );
    assert!(columns.bytes() >= body.len());
    assert_eq!(columns.body(&mut Vec::new()).concat(), body);
}
