//! A program, put together one checked operation at a time: an operation that is
//! in one has been checked, and its cost is in the sum.

use super::{
    MAX_OPERANDS, MAX_STEPS, Op, TensorType,
    rules::{self, Effect},
    tensor::check,
};

/// Bytes of a number.
const NUMBER: u64 = 4;

/// A tensor of a program, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(usize);

impl Value {
    /// Its place among the tensors of its program.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0
    }
}

/// A tensor that a program brings along; whoever runs it has the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// What it is called.
    pub name: String,
    /// Which tensor it is.
    pub value: Value,
}

/// One operation of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is called, in messages.
    pub name: String,
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub reads: Vec<Value>,
    /// What comes out.
    pub gives: Vec<Value>,
}

/// What a program costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers that it brings along.
    pub parameters: u64,
    /// Floating-point operations of one run.
    pub flops: u64,
    /// Bytes that are there at one time, at most, without what it brings along.
    pub live_bytes: u64,
    /// Bytes of everything that is computed, as gradients need it.
    pub activation_bytes: u64,
}

impl Cost {
    /// An upper estimate of the memory of one run, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.parameters
            .saturating_mul(NUMBER)
            .saturating_add(self.live_bytes)
    }

    /// The same of a run that computes gradients.
    #[must_use]
    pub fn peak_bytes_with_gradients(&self) -> u64 {
        self.parameters
            .saturating_mul(2 * NUMBER)
            .saturating_add(self.activation_bytes.saturating_mul(2))
    }
}

/// A program: operations in an order in which they can be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The kind and shape of each tensor, by its place.
    pub types: Vec<TensorType>,
    /// The tensors that each run is given, in their order.
    pub inputs: Vec<Value>,
    /// The tensors that it brings along.
    pub constants: Vec<Constant>,
    /// The operations.
    pub steps: Vec<Step>,
    /// The tensors that come out.
    pub outputs: Vec<Value>,
    /// What it costs.
    pub cost: Cost,
}

impl Program {
    /// The kind and shape of a tensor.
    #[must_use]
    pub fn type_of(&self, value: Value) -> &TensorType {
        &self.types[value.0]
    }

    /// For each operation, the tensors that none after it reads.
    #[must_use]
    pub fn last_uses(&self) -> Vec<Vec<Value>> {
        let mut is_read: Vec<bool> = vec![false; self.types.len()];
        for value in &self.outputs {
            is_read[value.0] = true;
        }
        let mut last: Vec<Vec<Value>> = self
            .steps
            .iter()
            .rev()
            .map(|step| {
                let mut over = Vec::new();
                for value in step.reads.iter().chain(&step.gives) {
                    if !is_read[value.0] {
                        is_read[value.0] = true;
                        over.push(*value);
                    }
                }
                over
            })
            .collect();
        last.reverse();
        last
    }
}

/// An operation that does not fit; it names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word} \"{name}\": {reason}")]
pub struct InvalidProgram {
    /// The operation's name.
    pub name: String,
    /// The word for what it does.
    pub word: String,
    /// What does not fit.
    pub reason: String,
}

/// A program under way.
#[derive(Debug, Default)]
pub struct Builder {
    program: Program,
    kept: u64,
}

impl Builder {
    /// A tensor that each run is given.
    ///
    /// # Errors
    /// When no tensor may have this shape.
    pub fn input(&mut self, name: &str, of: TensorType) -> Result<Value, InvalidProgram> {
        let value = self.declare("input", name, of)?;
        self.program.inputs.push(value);
        Ok(value)
    }

    /// A tensor that it brings along.
    ///
    /// # Errors
    /// When no tensor may have this shape.
    pub fn constant(&mut self, name: &str, of: TensorType) -> Result<Value, InvalidProgram> {
        let value = self.declare("tensor", name, of)?;
        let count = self.program.types[value.0].len();
        let parameters = &mut self.program.cost.parameters;
        *parameters = parameters.saturating_add(count);
        self.program.constants.push(Constant {
            name: name.to_owned(),
            value,
        });
        Ok(value)
    }

    /// The kind and shape of a tensor.
    #[must_use]
    pub fn type_of(&self, value: Value) -> &TensorType {
        self.program.type_of(value)
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.program.steps.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.program.steps.is_empty()
    }

    /// Appends an operation and gives what comes out.
    ///
    /// # Errors
    /// [`InvalidProgram`] when the operands do not fit.
    pub fn apply(
        &mut self,
        name: &str,
        op: Op,
        reads: &[Value],
    ) -> Result<Vec<Value>, InvalidProgram> {
        let refuse = |reason: String| InvalidProgram {
            name: name.chars().take(96).collect(),
            word: op.word().to_owned(),
            reason,
        };
        if self.program.steps.len() >= MAX_STEPS {
            return Err(refuse(format!("more than {MAX_STEPS} operations")));
        }
        if reads.len() > MAX_OPERANDS {
            return Err(refuse(format!("more than {MAX_OPERANDS} operands")));
        }
        let operands: Vec<&TensorType> = reads.iter().map(|value| self.type_of(*value)).collect();
        let Effect {
            outputs,
            flops,
            kept,
        } = rules::apply(&op, &operands).map_err(refuse)?;
        let first = self.program.types.len();
        let gives: Vec<Value> = (first..first + outputs.len()).map(Value).collect();
        self.program.types.extend(outputs);
        let cost = &mut self.program.cost;
        cost.flops = cost.flops.saturating_add(flops);
        self.kept = self.kept.saturating_add(kept);
        self.program.steps.push(Step {
            name: name.to_owned(),
            op,
            reads: reads.to_vec(),
            gives: gives.clone(),
        });
        Ok(gives)
    }

    /// The program, with these tensors as what comes out.
    #[must_use]
    pub fn finish(self, outputs: &[Value]) -> Program {
        let mut program = self.program;
        program.outputs = outputs.to_vec();
        let sum = |values: &mut dyn Iterator<Item = Value>| {
            values
                .map(|value| program.types[value.0].len().saturating_mul(NUMBER))
                .fold(0_u64, u64::saturating_add)
        };
        let mut stays = vec![false; program.types.len()];
        for constant in &program.constants {
            stays[constant.value.0] = true;
        }
        let given = sum(&mut program.inputs.iter().copied());
        let mut live = given;
        let mut most = given;
        let mut all = given;
        for (step, over) in program.steps.iter().zip(program.last_uses()) {
            let made = sum(&mut step.gives.iter().copied());
            all = all.saturating_add(made);
            live = live.saturating_add(made);
            most = most.max(live);
            let mut over = over.into_iter().filter(|value| !stays[value.0]);
            live = live.saturating_sub(sum(&mut over));
        }
        let kept = self.kept.saturating_mul(NUMBER);
        program.cost.live_bytes = most.saturating_add(largest(&program));
        program.cost.activation_bytes = all.saturating_add(kept);
        program
    }

    fn declare(&mut self, word: &str, name: &str, of: TensorType) -> Result<Value, InvalidProgram> {
        check(&of.shape).map_err(|reason| InvalidProgram {
            name: name.chars().take(96).collect(),
            word: word.to_owned(),
            reason,
        })?;
        self.program.types.push(of);
        Ok(Value(self.program.types.len() - 1))
    }
}

/// What an operation needs on its way, at most: as much as its operands and what
/// it gives, stretched to one shape.
fn largest(program: &Program) -> u64 {
    let bytes = |values: &[Value]| {
        values
            .iter()
            .map(|value| program.types[value.0].len().saturating_mul(NUMBER))
            .fold(0_u64, u64::saturating_add)
    };
    program
        .steps
        .iter()
        .map(|step| bytes(&step.reads).saturating_add(bytes(&step.gives)))
        .max()
        .unwrap_or(0)
}
