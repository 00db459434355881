//! Operators that move numbers within a row, or take them from tables.

use crate::program::Unsupported;
use crate::program::compile::view::{Cell, View, axis_of};
use crate::program::compile::{Compiler, Constant, Integers, Value, unsupported};
use crate::program::onnx::{Data, MOST_AXES, Node};
use crate::program::plan::{Action, Kind};

impl Compiler<'_> {
    /// Applies an operator of this module; `None` for any other.
    pub(super) fn moving(&mut self, node: &Node<'_>) -> Result<Option<Vec<Value>>, Unsupported> {
        let view = match node.operator {
            "Split" => return self.split(node).map(Some),
            "Gather" => self.gather(node),
            "GatherElements" => self.gather_elements(node),
            "Concat" => self.concat(node),
            "Slice" => self.slice(node),
            "Pad" => self.pad(node),
            "Reshape" => self.reshape(node),
            "Flatten" => {
                let of = self.rows(node, 0)?;
                match node.integer("axis", 1)? {
                    1 => Ok(of.reshaped(vec![of.width()])),
                    _ => unsupported("Flatten works across rows"),
                }
            }
            "Squeeze" => self.squeeze(node),
            "Unsqueeze" => self.unsqueeze(node),
            _ => return Ok(None),
        }?;
        Ok(Some(vec![Value::Rows(view)]))
    }

    fn gather(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let axis = node.integer("axis", 0)?;
        let of = match (self.needed(node, 0)?, self.needed(node, 1)?) {
            (Value::Rows(of), Value::Constant(_)) => of,
            (Value::Constant(table), Value::Rows(index)) => {
                if axis_of(axis, table.dims.len())? != 0 {
                    return unsupported("Gather takes columns of a table by numbers of a row");
                }
                return self.look_up(&table, &index);
            }
            _ => return unsupported("Gather takes numbers of a row by numbers of a row"),
        };
        let indices = self.integers(node, 1)?.expect("the indices are a constant");
        let axis = of.axis(axis)?;
        let (before, size, after) = of.around(axis);
        let places = indices.values.iter().map(|index| axis_of(*index, size).map(Some));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        self.count(before.saturating_mul(places.len()).saturating_mul(after))?;
        let dims = [&of.dims[..axis], &indices.dims, &of.dims[axis + 1..]].concat();
        Ok(of.moved(dims, of.select(axis, &places, None)))
    }

    fn look_up(&mut self, table: &Constant, index: &View) -> Result<View, Unsupported> {
        let Some((rows, rest)) = table.dims.split_first() else {
            return unsupported("Gather takes from a number");
        };
        if index.kind != Kind::I64 || *rows == 0 || table.data.kind() == Kind::Bool {
            return unsupported("Gather takes from a table that does not run here");
        }
        let dims = [index.dims.as_slice(), rest].concat();
        self.count_dims(&dims)?;
        let width = dims.iter().product();
        let index = self.dense(&index.cells)?;
        let action = Action::LookUp { table: table.data.clone(), rows: *rows, index };
        let source = self.step(action, table.data.kind(), width)?;
        Ok(View { narrow: table.narrow, ..self.whole(source, dims) })
    }

    fn gather_elements(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let (of, index) = (self.rows(node, 0)?, self.rows(node, 1)?);
        let axis = of.axis(node.integer("axis", 0)?)?;
        if of.dims.len() != 1 || index.dims.len() != 1 || axis != 0 || index.kind != Kind::I64 {
            return unsupported("GatherElements runs here over the columns of a matrix only");
        }
        let (among, width) = (of.width(), index.width());
        self.count(among)?;
        let (numbers, index) = (self.dense(&of.cells)?, self.dense(&index.cells)?);
        let source = self.step(Action::Take { of: numbers, among, index }, of.kind, width)?;
        Ok(View { narrow: of.narrow, ..self.whole(source, vec![width]) })
    }

    fn concat(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let views = (0..node.inputs.len()).map(|at| self.rows(node, at));
        let views = views.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = views.first() else { return unsupported("Concat lacks inputs") };
        let axis = first.axis(node.integer("axis", 0)?)?;
        let alike = |view: &View| {
            let dims = view.dims.len() == first.dims.len() && view.kind == first.kind;
            dims && view.dims.iter().zip(&first.dims).enumerate().all(|(i, (a, b))| i == axis || a == b)
        };
        if !views.iter().all(alike) {
            return unsupported("Concat gets tensors that do not fit");
        }
        self.count(views.iter().map(View::width).fold(0, usize::saturating_add))?;
        let mut dims = first.dims.clone();
        dims[axis] = views.iter().map(|view| view.dims[axis]).sum();
        let (before, _, _) = first.around(axis);
        let mut cells: Vec<Cell> = Vec::new();
        for outer in 0..before {
            for view in &views {
                let each = view.width() / before;
                cells.extend(&view.cells[outer * each..(outer + 1) * each]);
            }
        }
        let narrow = views.iter().any(|view| view.narrow);
        Ok(View { narrow, ..first.moved(dims, cells) })
    }

    fn split(&mut self, node: &Node<'_>) -> Result<Vec<Value>, Unsupported> {
        let of = self.rows(node, 0)?;
        let axis = of.axis(node.integer("axis", 0)?)?;
        let size = of.dims[axis];
        let sizes = match self.integers(node, 1)? {
            Some(sizes) if sizes.values.len() == node.outputs.len() => sizes.values,
            Some(_) => return unsupported("Split has other sizes than outputs"),
            None => {
                let each = size.div_ceil(node.outputs.len().max(1)).max(1);
                (0..size).step_by(each).map(|begin| each.min(size - begin) as i64).collect()
            }
        };
        self.count(of.width())?;
        let (mut made, mut begin) = (Vec::new(), 0_usize);
        for part in sizes {
            let end = usize::try_from(part).ok().and_then(|part| begin.checked_add(part));
            let Some(end) = end.filter(|end| *end <= size) else {
                return unsupported("Split has other sizes than its input");
            };
            let places: Vec<_> = (begin..end).map(Some).collect();
            let mut dims = of.dims.clone();
            dims[axis] = end - begin;
            made.push(Value::Rows(of.moved(dims, of.select(axis, &places, None))));
            begin = end;
        }
        if begin == size { Ok(made) } else { unsupported("Split has other sizes than its input") }
    }

    fn slice(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let mut of = self.rows(node, 0)?;
        let (Some(starts), Some(ends)) = (self.integers(node, 1)?, self.integers(node, 2)?) else {
            return unsupported("Slice lacks its bounds");
        };
        let (starts, ends) = (starts.values, ends.values);
        let axes =
            self.integers(node, 3)?.map_or_else(|| (0..starts.len() as i64).collect(), |axes| axes.values);
        let steps = self.integers(node, 4)?.map_or_else(|| vec![1; starts.len()], |steps| steps.values);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.iter().any(|step| *step != 1) {
            return unsupported("Slice has steps that do not run here");
        }
        if axes.len() > of.dims.len() {
            return unsupported("Slice has more axes than its input");
        }
        for ((start, end), axis) in starts.into_iter().zip(ends).zip(axes) {
            let axis = of.axis(axis)?;
            let size = of.dims[axis] as i64;
            let bound = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size) as usize;
            let places: Vec<_> = (bound(start)..bound(end)).map(Some).collect();
            self.count(of.width())?;
            let mut dims = of.dims.clone();
            dims[axis] = places.len();
            of = of.moved(dims, of.select(axis, &places, None));
        }
        Ok(of)
    }

    fn pad(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let mut of = self.rows(node, 0)?;
        if node.text("mode")?.is_some_and(|mode| mode != "constant") || node.inputs.len() > 3 {
            return unsupported("Pad runs here with a constant only");
        }
        let axes = of.dims.len() + 1;
        let pads = match self.integers(node, 1)? {
            Some(Integers { values, .. })
                if values.len() == 2 * axes && values[0] == 0 && values[axes] == 0 =>
            {
                values
            }
            _ => return unsupported("Pad has pads that do not run here"),
        };
        let cell = match self.input(node, 2)? {
            None => self.zero(of.kind),
            Some(Value::Constant(constant))
                if constant.data.len() == 1 && constant.data.kind() == of.kind =>
            {
                self.constant_cells(&constant.data)[0]
            }
            Some(_) => return unsupported("Pad has a value that does not run here"),
        };
        for axis in 0..of.dims.len() {
            let (Ok(before), Ok(after)) =
                (usize::try_from(pads[axis + 1]), usize::try_from(pads[axes + axis + 1]))
            else {
                return unsupported("Pad has pads that do not run here");
            };
            let mut dims = of.dims.clone();
            dims[axis] = dims[axis].saturating_add(before).saturating_add(after);
            self.count_dims(&dims)?;
            let inside = (0..of.dims[axis]).map(Some);
            let outside = |count| std::iter::repeat_n(None, count);
            let places: Vec<_> = outside(before).chain(inside).chain(outside(after)).collect();
            of = of.moved(dims, of.select(axis, &places, Some(cell)));
        }
        Ok(of)
    }

    fn zero(&mut self, kind: Kind) -> Cell {
        self.constant_cells(&match kind {
            Kind::F32 => Data::F32(vec![0.0]),
            Kind::F64 => Data::F64(vec![0.0]),
            Kind::I64 => Data::I64(vec![0]),
            Kind::Bool => Data::Bool(vec![false]),
        })[0]
    }

    fn reshape(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let Some(Integers { values: sizes, .. }) = self.integers(node, 1)? else {
            return unsupported("Reshape lacks a shape");
        };
        let Some((rows, sizes)) = sizes.split_first().filter(|(_, sizes)| sizes.len() <= MOST_AXES) else {
            return unsupported("Reshape works across rows");
        };
        if node.integer("allowzero", 0)? != 0 || !matches!(rows, -1 | 0) {
            return unsupported("Reshape works across rows");
        }
        let mut dims = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            dims.push(match size {
                0 => *of.dims.get(i).ok_or_else(|| Unsupported("Reshape has a wrong shape".into()))?,
                // Only one size is open. If that is the rows, the row has its fixed width.
                -1 if *rows == 0 => {
                    let fixed = sizes.iter().enumerate().filter(|(j, _)| *j != i);
                    let known = fixed.map(|(j, size)| match size {
                        0 => of.dims.get(j).copied().unwrap_or(0),
                        _ => usize::try_from(*size).unwrap_or(0),
                    });
                    let known = known.fold(1, usize::saturating_mul);
                    of.width().checked_div(known).unwrap_or(0)
                }
                _ => usize::try_from(*size).map_err(|_| Unsupported("Reshape has a wrong shape".into()))?,
            });
        }
        let width = dims.iter().try_fold(1_usize, |width, size| width.checked_mul(*size));
        if width == Some(of.width()) {
            Ok(of.reshaped(dims))
        } else {
            unsupported("Reshape works across rows")
        }
    }

    fn squeeze(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let Some(Integers { values: axes, .. }) = self.integers(node, 1)? else {
            return unsupported("Squeeze does not say its axes");
        };
        if axes.len() > MOST_AXES {
            return unsupported("Squeeze has too many axes");
        }
        let axes = axes.iter().map(|axis| of.axis(*axis)).collect::<Result<Vec<_>, _>>()?;
        if axes.iter().any(|axis| of.dims[*axis] != 1) {
            return unsupported("Squeeze has an axis of another size than 1");
        }
        let kept = of.dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        Ok(of.reshaped(kept.map(|(_, size)| *size).collect()))
    }

    fn unsqueeze(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let Some(Integers { values: axes, .. }) = self.integers(node, 1)? else {
            return unsupported("Unsqueeze lacks its axes");
        };
        if axes.len() > MOST_AXES {
            return unsupported("Unsqueeze has too many axes");
        }
        let count = of.dims.len() + 1 + axes.len();
        let mut places = axes.iter().map(|axis| axis_of(*axis, count)).collect::<Result<Vec<_>, _>>()?;
        places.sort_unstable();
        places.dedup();
        if places.len() != axes.len() || places.first() == Some(&0) {
            return unsupported("Unsqueeze works across rows");
        }
        let mut dims = of.dims.clone();
        for place in places {
            dims.insert(place - 1, 1);
        }
        Ok(of.reshaped(dims))
    }
}
