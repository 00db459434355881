use super::*;
use crate::encodings::tensor_request::{self, MAX_RANK, MAX_TENSORS};

fn read(decoded: &mut Decoded, data: &[u8]) -> Result<()> {
    decoded.clear();
    tensor_request::read(&mut decoded.request, &mut decoded.tensors, data)
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf::put_bytes_head(&mut out, number, content.len());
    out.extend_from_slice(content);
    out
}

fn tensor(name: &str, datatype: &str, shape: &[u8]) -> Vec<u8> {
    field(5, &[field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, shape)].concat())
}

fn interface() -> TensorSchema {
    let input = |name: &str, texts, start| TensorInput {
        name: name.into(),
        texts,
        dims: vec![1],
        optional: name == "b",
        start,
    };
    TensorSchema::new(
        ("m", "1"),
        vec![input("a", false, 0), input("t", true, 0), input("b", false, 1)],
        vec![],
    )
}

fn filled(data: &[u8]) -> Result<(Vec<f64>, Vec<String>)> {
    let mut decoded = Decoded::default();
    read(&mut decoded, data)?;
    interface().fill(&mut decoded, data, 10)?;
    let request = &decoded.request;
    let chunks = request.numbers(data).chunks_exact(DOUBLE);
    let numbers = chunks.map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect();
    Ok((numbers, decoded.request.texts.iter().map(|text| text.text(data).to_owned()).collect()))
}

fn usual() -> Vec<Vec<u8>> {
    vec![
        field(1, b"m"),
        tensor("t", "BYTES", &[2, 1]),
        tensor("a", "INT32", &[2]),
        field(7, b"\x02\0\0\0de\0\0\0\0"),
        field(7, &[1, 0, 0, 0, 255, 255, 255, 255]),
    ]
}

#[test]
fn tensors_become_rows() {
    let (numbers, texts) = filled(&usual().concat()).unwrap();
    assert_eq!((numbers[0], numbers[2]), (1.0, -1.0));
    assert!(numbers[1].is_nan() && numbers[3].is_nan());
    assert_eq!(texts, ["de", ""]);
}

#[test]
fn a_shape_of_more_sizes_than_any_tensor_has_is_unusual() {
    let sent = |sizes: usize| {
        let mut parts = usual();
        parts[2] = tensor("a", "INT32", &[&[2][..], &vec![1; sizes - 1]].concat());
        filled(&parts.concat())
    };
    assert!(sent(MAX_RANK).is_ok());
    assert_eq!(sent(MAX_RANK + 1), Err(UnsupportedError));
}

#[test]
fn typed_contents_are_rows_as_raw_ones_are() {
    let sent = |name: &str, datatype: &str, contents: &[u8]| {
        let parts = [field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, &[2])];
        field(5, &[parts.concat(), field(5, contents)].concat())
    };
    let texts = [field(8, b"de"), field(8, b"")].concat();
    let minus_one = [&[0xff; 9][..], &[1]].concat();
    let numbers = field(2, &[&[1][..], &minus_one].concat());
    let words = sent("t", "BYTES", &texts);
    let beside = |parts: Vec<u8>| filled(&[&words[..], &parts].concat());
    let (found, words) = beside(sent("a", "INT32", &numbers)).unwrap();
    assert_eq!((found[0], found[2], words), (1.0, -1.0, vec!["de".into(), String::new()]));
    let run: Vec<u8> = [1.5_f64, 2.5].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(beside(sent("a", "FP64", &field(7, &run))).unwrap().0[2], 2.5);
    let raw = field(7, &[0; 16]);
    for unusual in [
        sent("a", "FP32", &field(7, &run)),
        sent("a", "INT32", &field(2, &[1])),
        sent("a", "INT8", &field(2, &[1, 0x80, 1])),
        sent("a", "INT32", &[field(2, &[1]), field(2, &[1])].concat()),
        sent("a", "INT32", &[]),
        [sent("a", "FP64", &field(7, &run)), raw.clone()].concat(),
        tensor("a", "FP64", &[2]),
        [tensor("a", "FP64", &[2]), raw].concat(),
    ] {
        assert_eq!(beside(unusual.clone()).err(), Some(UnsupportedError), "{unusual:?}");
    }
}

#[test]
fn no_change_of_a_byte_and_no_cut_makes_it_panic() {
    let contents = field(5, &field(8, b"de"));
    let typed = field(5, &[field(1, b"t"), field(2, b"BYTES"), field(3, &[1, 1]), contents].concat());
    let numbers = field(5, &field(2, &[0x80, 1]));
    let typed_numbers = field(5, &[field(1, b"a"), field(2, b"INT32"), field(3, &[1]), numbers].concat());
    for message in [usual().concat(), [typed, typed_numbers].concat()] {
        assert!(filled(&message).is_ok());
        for at in 0..message.len() {
            let _ = filled(&message[..at]);
            for byte in [0, 1, 0x7f, 0x80, 0xff, message[at] ^ 1, message[at] ^ 0x20] {
                let mut changed = message.clone();
                changed[at] = byte;
                let _ = filled(&changed);
            }
        }
    }
}

#[test]
fn a_hundred_inputs_are_found_in_any_order() {
    let input = |i: usize| TensorInput {
        name: format!("x{i}"),
        texts: false,
        dims: vec![],
        optional: false,
        start: i,
    };
    let interface = TensorSchema::new(("m", "1"), (0..100).map(input).collect(), vec![]);
    let order: Vec<usize> = (0..100).rev().collect();
    let inputs = order.iter().map(|i| tensor(&format!("x{i}"), "UINT8", &[1]));
    let raws = order.iter().map(|&i| field(7, &[i as u8]));
    let data: Vec<u8> = inputs.chain(raws).flatten().collect();
    let mut decoded = Decoded::default();
    read(&mut decoded, &data).unwrap();
    interface.fill(&mut decoded, &data, 10).unwrap();
    let numbers = decoded.request.numbers(&data).chunks_exact(DOUBLE);
    assert!(numbers.enumerate().all(|(i, number)| number == (i as f64).to_le_bytes()));
    let twice: Vec<u8> = [tensor("x0", "UINT8", &[1]), field(7, &[0])].concat();
    read(&mut decoded, &twice).unwrap();
    assert_eq!(interface.fill(&mut decoded, &twice, 10), Err(UnsupportedError));
}

#[test]
fn what_is_unusual_is_left_to_others() {
    let change = |index: usize, part: Vec<u8>| {
        let mut parts = usual();
        parts[index] = part;
        filled(&parts.concat()).err()
    };
    assert_eq!(change(0, b"\xff".to_vec()), Some(UnsupportedError));
    assert_eq!(change(1, tensor("u", "BYTES", &[2, 1])), Some(UnsupportedError));
    assert_eq!(change(1, tensor("a", "INT32", &[2])), Some(UnsupportedError));
    assert_eq!(change(1, tensor("t", "BYTES", &[2, 2])), Some(UnsupportedError));
    assert_eq!(change(2, tensor("a", "INT32", &[3])), Some(UnsupportedError));
    assert_eq!(change(2, tensor("a", "FP16", &[2])), Some(UnsupportedError));
    assert_eq!(change(3, field(7, b"\x03\0\0\0de\0\0\0\0")), Some(UnsupportedError));
    assert_eq!(change(3, field(7, b"\x02\0\0\0d\xff\0\0\0\0")), Some(UnsupportedError));
    assert_eq!(change(4, Vec::new()), Some(UnsupportedError));
    assert_eq!(change(0, field(4, &field(1, b"priority"))), Some(UnsupportedError));
    assert_eq!(change(0, field(6, &field(1, b"none"))), Some(UnsupportedError));
}

#[test]
fn a_routing_key_is_a_parameter() {
    let mut decoded = Decoded::default();
    let value = field(2, &field(3, b"user-7"));
    let data = [usual().concat(), field(4, &[field(1, b"routing_key"), value].concat())].concat();
    read(&mut decoded, &data).unwrap();
    assert_eq!(decoded.request.routing_key.text(&data), "user-7");
}

#[test]
fn a_number_of_rows_without_their_bytes_makes_no_room() {
    let many = field(3, &[10, 1]);
    let claim = |name: &str, datatype: &str, rest: &[u8]| {
        field(
            5,
            &[field(1, name.as_bytes()), field(2, datatype.as_bytes()), many.clone(), rest.to_vec()].concat(),
        )
    };
    let short = field(7, &[0; 8]);
    let typed = |contents: &[u8]| field(5, contents);
    for parts in [
        vec![claim("a", "FP64", &[]), claim("t", "BYTES", &[]), short.clone(), short.clone()],
        vec![claim("a", "FP64", &[]), claim("t", "BYTES", &[]), field(7, &[0; 80]), short.clone()],
        vec![claim("t", "BYTES", &[]), claim("a", "BOOL", &[]), field(7, &[0; 40]), short],
        vec![claim("a", "FP64", &typed(&field(7, &[0; 8]))), claim("t", "BYTES", &typed(&field(8, b"")))],
        vec![claim("a", "INT32", &typed(&field(2, &[1]))), claim("t", "BYTES", &typed(&field(8, b"")))],
    ] {
        let (data, mut decoded) = (parts.concat(), Decoded::default());
        read(&mut decoded, &data).unwrap();
        assert_eq!(interface().fill(&mut decoded, &data, 10), Err(UnsupportedError), "{data:?}");
        assert_eq!(
            (decoded.request.gathered.capacity(), decoded.request.texts.capacity()),
            (0, 0),
            "{data:?}"
        );
    }
}

#[test]
fn more_tensors_than_any_model_has_are_left_to_the_control_plane() {
    let mut decoded = Decoded::default();
    let one = field(5, &[field(3, &[1]), field(5, &field(6, &[0; 4]))].concat());
    assert_eq!(read(&mut decoded, &one.repeat(MAX_TENSORS)), Ok(()));
    assert_eq!(read(&mut decoded, &one.repeat(MAX_TENSORS + 1)), Err(UnsupportedError));
}

#[test]
fn an_output_is_asked_for_once() {
    let output = |name: &str| TensorOutput { name: name.into(), datatype: "FP64".into(), dims: vec![1] };
    let interface = TensorSchema::new(("m", "1"), vec![], vec![output("x"), output("y")]);
    let asked = |names: &[&str]| {
        let data = names.iter().map(|name| field(1, name.as_bytes())).collect::<Vec<_>>();
        let data = data.iter().map(|name| field(6, name)).collect::<Vec<_>>().concat();
        let input = field(5, &[field(3, &[1]), field(5, &field(6, &[0; 4]))].concat());
        let mut decoded = Decoded::default();
        let data = [data, input].concat();
        read(&mut decoded, &data).unwrap();
        interface.check_wanted(&decoded.tensors, &data)
    };
    assert_eq!((asked(&[]), asked(&["y"]), asked(&["y", "x"])), (Ok(()), Ok(()), Ok(())));
    for names in [&["z"][..], &["x", "x"], &["x", "y", "x"]] {
        assert_eq!(asked(names), Err(UnsupportedError), "{names:?}");
    }
}
