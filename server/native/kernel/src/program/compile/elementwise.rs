//! Operators that make each number from the numbers at the same place.

use std::collections::HashMap;
use std::rc::Rc;

use crate::program::Unsupported;
use crate::program::arithmetic::{Binary, Comparison, Logic, Unary};
use crate::program::compile::view::{Cell, View};
use crate::program::compile::{Compiler, Constant, Value, unsupported};
use crate::program::onnx::{self, Data, Node};
use crate::program::plan::{Action, Kind};

/// What makes a number from up to three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Formula {
    Unary(Unary),
    Binary(Binary),
    Compare(Comparison),
    Logic(Logic),
    Not,
    IsNan,
    Choose,
    Cast(Kind),
}

impl Compiler<'_> {
    /// Applies an operator of this module; `None` for any other.
    pub(super) fn elementwise(&mut self, node: &Node<'_>) -> Result<Option<Value>, Unsupported> {
        if node.operator == "Identity" {
            return self.needed(node, 0).map(Some);
        }
        let view = match node.operator {
            "Neg" => self.unary(node, Unary::Neg),
            "Abs" => self.unary(node, Unary::Abs),
            "Sign" => self.unary(node, Unary::Sign),
            "Exp" => self.unary(node, Unary::Exp),
            "Log" => self.unary(node, Unary::Log),
            "Sqrt" => self.unary(node, Unary::Sqrt),
            "Reciprocal" => self.unary(node, Unary::Reciprocal),
            "Floor" => self.unary(node, Unary::Floor),
            "Ceil" => self.unary(node, Unary::Ceil),
            "Round" => self.unary(node, Unary::Round),
            "Tanh" => self.unary(node, Unary::Tanh),
            "Sigmoid" => self.unary(node, Unary::Sigmoid),
            "Relu" => self.unary(node, Unary::Relu),
            "Add" | "Sum" => self.several(node, Binary::Add),
            "Sub" => self.several(node, Binary::Sub),
            "Mul" => self.several(node, Binary::Mul),
            "Div" => self.several(node, Binary::Div),
            "Pow" => self.several(node, Binary::Pow),
            "Min" => self.several(node, Binary::Min),
            "Max" => self.several(node, Binary::Max),
            "Mod" if node.integer("fmod", 0)? == 1 => self.several(node, Binary::Remainder),
            "Clip" => self.clip(node),
            "Equal" => self.pair(node, Formula::Compare(Comparison::Equal)),
            "Less" => self.pair(node, Formula::Compare(Comparison::Less)),
            "LessOrEqual" => self.pair(node, Formula::Compare(Comparison::LessOrEqual)),
            "Greater" => self.pair(node, Formula::Compare(Comparison::Greater)),
            "GreaterOrEqual" => self.pair(node, Formula::Compare(Comparison::GreaterOrEqual)),
            "And" => self.pair(node, Formula::Logic(Logic::And)),
            "Or" => self.pair(node, Formula::Logic(Logic::Or)),
            "Xor" => self.pair(node, Formula::Logic(Logic::Xor)),
            "Not" => {
                let of = self.rows(node, 0)?;
                self.formula(Formula::Not, &[of])
            }
            "IsNaN" => {
                let of = self.rows(node, 0)?;
                self.formula(Formula::IsNan, &[of])
            }
            "Where" => {
                let inputs = [self.needed(node, 0)?, self.needed(node, 1)?, self.needed(node, 2)?];
                let (views, _) = self.broadcast(&inputs)?;
                self.formula(Formula::Choose, &views)
            }
            "Cast" => self.cast(node),
            _ => return Ok(None),
        }?;
        Ok(Some(Value::Rows(view)))
    }

    fn unary(&mut self, node: &Node<'_>, unary: Unary) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        self.formula(Formula::Unary(unary), &[of])
    }

    /// A function of two numbers, over two inputs or more, from the first on.
    fn several(&mut self, node: &Node<'_>, binary: Binary) -> Result<View, Unsupported> {
        let inputs = (0..node.inputs.len()).map(|at| self.needed(node, at));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let (views, _) = self.broadcast(&inputs)?;
        let (first, others) = views.split_first().expect("there are rows among the inputs");
        others.iter().try_fold(first.clone(), |made, view| {
            self.formula(Formula::Binary(binary), &[made, view.clone()])
        })
    }

    fn pair(&mut self, node: &Node<'_>, formula: Formula) -> Result<View, Unsupported> {
        let inputs = [self.needed(node, 0)?, self.needed(node, 1)?];
        let (views, _) = self.broadcast(&inputs)?;
        self.formula(formula, &views)
    }

    fn clip(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let mut clipped = self.rows(node, 0)?;
        let ends = match clipped.kind {
            Kind::F32 => [f32::MIN, f32::MAX].map(|end| Data::F32(vec![end])),
            Kind::F64 => [f64::MIN, f64::MAX].map(|end| Data::F64(vec![end])),
            Kind::I64 => [i64::MIN, i64::MAX].map(|end| Data::I64(vec![end])),
            Kind::Bool => return unsupported("Clip gets numbers that do not run here"),
        };
        for ((at, binary), end) in [(1, Binary::Max), (2, Binary::Min)].into_iter().zip(ends) {
            let ends_at = |end: Data| Value::Constant(Rc::new(Constant::new(Vec::new(), end)));
            let bound = self.input(node, at)?.unwrap_or_else(|| ends_at(end));
            let (views, _) = self.broadcast(&[Value::Rows(clipped), bound])?;
            clipped = self.formula(Formula::Binary(binary), &views)?;
        }
        Ok(clipped)
    }

    fn cast(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let element = node.integer("to", 0)?;
        let to = match i32::try_from(element).unwrap_or(0) {
            onnx::FLOAT => Kind::F32,
            onnx::DOUBLE => Kind::F64,
            onnx::INT64 => Kind::I64,
            onnx::BOOL => Kind::Bool,
            _ => return unsupported(format!("a cast to the type {element} does not run here")),
        };
        if of.kind == to {
            return Ok(View { narrow: false, ..of });
        }
        self.formula(Formula::Cast(to), &[of])
    }

    /// Applies a formula to tensors of one shape: once for each distinct numbers that go in.
    pub(super) fn formula(&mut self, formula: Formula, of: &[View]) -> Result<View, Unsupported> {
        let (kind, width) = (self.check(formula, of)?, of[0].width());
        self.count(width)?;
        let inputs =
            |i: usize| -> [Cell; 3] { std::array::from_fn(|input| of[input.min(of.len() - 1)].cells[i]) };
        let narrow = formula == Formula::Choose && of[1..].iter().any(|view| view.narrow);
        let dims = of[0].dims.clone();
        let known: Option<Vec<_>> =
            (0..width).map(|i| self.computed.get(&(formula, inputs(i))).copied()).collect();
        if let Some(cells) = known {
            return Ok(View { narrow, ..View::new(kind, dims, cells) });
        }
        // The distinct inputs, and for each number the place of its own.
        let mut places = HashMap::new();
        let mut distinct = Vec::new();
        let own: Vec<_> = (0..width)
            .map(|i| {
                *places.entry(inputs(i)).or_insert_with(|| {
                    distinct.push(i);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut operands = Vec::new();
        for view in of {
            let cells: Vec<_> = distinct.iter().map(|i| view.cells[*i]).collect();
            operands.push(self.operand(&cells)?);
        }
        let action = match (formula, operands.as_slice()) {
            (Formula::Unary(unary), [a]) => Action::Unary(unary, *a),
            (Formula::Binary(binary), [a, b]) => Action::Binary(binary, [*a, *b]),
            (Formula::Compare(comparison), [a, b]) => {
                Action::Compare { comparison, kind: of[0].kind, of: [*a, *b] }
            }
            (Formula::Logic(logic), [a, b]) => Action::Logic(logic, [*a, *b]),
            (Formula::Not, [a]) => Action::Not(*a),
            (Formula::IsNan, [a]) => Action::IsNan { kind: of[0].kind, of: *a },
            (Formula::Choose, [condition, a, b]) => Action::Choose(*condition, [*a, *b]),
            (Formula::Cast(_), [a]) => Action::Cast { kind: of[0].kind, of: *a },
            _ => return unsupported("an operator has too many inputs"),
        };
        let source = self.step(action, kind, distinct.len())?;
        for (at, i) in distinct.into_iter().enumerate() {
            self.computed.insert((formula, inputs(i)), Cell { source, at: at as u32 });
        }
        let cells: Vec<_> = own.into_iter().map(|at| Cell { source, at: at as u32 }).collect();
        Ok(View { narrow, ..View::new(kind, dims, cells) })
    }

    /// Checks the kinds of what goes in; returns the kind of what comes out.
    fn check(&self, formula: Formula, of: &[View]) -> Result<Kind, Unsupported> {
        let kind = of[0].kind;
        let alike = of.iter().all(|view| view.kind == kind);
        let fraction = matches!(kind, Kind::F32 | Kind::F64);
        let whole = kind == Kind::I64 && of.iter().all(|view| !view.narrow);
        let (fits, made) = match formula {
            Formula::Unary(Unary::Neg | Unary::Abs | Unary::Sign) => (fraction || whole, kind),
            Formula::Unary(_) | Formula::Binary(Binary::Div | Binary::Remainder | Binary::Pow) => {
                (alike && fraction, kind)
            }
            Formula::Binary(_) => (alike && (fraction || whole), kind),
            Formula::Compare(Comparison::Equal) => (alike, Kind::Bool),
            Formula::Compare(_) => (alike && kind != Kind::Bool, Kind::Bool),
            Formula::Logic(_) | Formula::Not => (alike && kind == Kind::Bool, Kind::Bool),
            Formula::IsNan => (fraction, Kind::Bool),
            Formula::Choose => (kind == Kind::Bool && of[1].kind == of[2].kind, of[1].kind),
            Formula::Cast(to) => (true, to),
        };
        if fits { Ok(made) } else { unsupported("an operator gets numbers of types that do not run here") }
    }
}
