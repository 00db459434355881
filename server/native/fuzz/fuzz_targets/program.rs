//! `cargo +nightly fuzz run program`: compiles arbitrary bytes as an ONNX model, and runs what compiles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scorewire_kernel::program::{Memory, Options, Program};
use scorewire_kernel::trees::FormName;
use scorewire_kernel::values::{Values, ValuesMut};

const ROWS: usize = 3;

fuzz_target!(|data: &[u8]| {
    // Forms are chosen by measurement, which would take most of the time.
    let options = Options { form: Some(FormName::Naive), ..Options::default() };
    let Ok(program) = Program::compile(data, options) else { return };
    let widest = program.inputs().iter().chain(program.outputs()).map(|port| port.width).max();
    let most = widest.unwrap_or(0) * ROWS;
    let (floats, doubles) = (vec![0.0_f32; most], vec![0.0_f64; most]);
    let (integers, truths) = (vec![0_i64; most], vec![false; most]);
    let inputs = program.inputs().iter().map(|port| {
        let count = ROWS * port.width;
        match port.element {
            1 => Values::F32(&floats[..count]),
            9 => Values::Bool(&truths[..count]),
            11 => Values::F64(&doubles[..count]),
            _ => Values::I64(&integers[..count]),
        }
    });
    let inputs = inputs.collect::<Vec<_>>();
    let made = program.outputs().iter().map(|port| {
        let count = ROWS * port.width;
        (vec![0.0_f32; count], vec![0.0_f64; count], vec![0_i64; count])
    });
    let mut made = made.collect::<Vec<_>>();
    let outputs =
        made.iter_mut().zip(program.outputs()).map(|((floats, doubles, integers), port)| {
            match port.element {
                1 => ValuesMut::F32(floats),
                11 => ValuesMut::F64(doubles),
                _ => ValuesMut::I64(integers),
            }
        });
    let mut outputs = outputs.collect::<Vec<_>>();
    // An index may be out of range.
    let _ = program.run(ROWS, &inputs, &mut outputs, &mut Memory::default(), &|| false);
});
