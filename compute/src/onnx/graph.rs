//! The nodes of a graph, one after the other: what is known is folded, and the rest
//! becomes operations.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use embermesh_job::program::{Builder, Kind, Op, TensorType, Value};

use super::attributes::Attributes;
use super::invalid::short;
use super::literal::Literal;
use super::need::needed;
use super::wire::{GraphProto, NodeProto};
use super::{Bound, Imported, InvalidOnnx, fold, operators, wire};

/// How deep graphs may lie within graphs.
pub(super) const MAX_DEPTH: usize = 16;
/// The most numbers that are computed here, over all nodes.
const MAX_FOLDED: usize = 1 << 24;

/// A tensor by its name: known here, or a value of the program, or both.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// Known. Once the program needs it, it is a constant of it.
    Known(Rc<Literal>, Option<Value>),
    /// Computed.
    Made(Value),
}

/// The program under way.
pub(super) struct Importer {
    pub(super) builder: Builder,
    pub(super) opset: i64,
    entries: HashMap<String, Entry>,
    constants: Vec<Rc<Literal>>,
    /// The node that is under way, for names.
    pub(super) label: String,
    depth: usize,
    /// Numbers that were computed here.
    folded: usize,
}

impl Importer {
    pub(super) fn new(opset: i64) -> Self {
        Self {
            builder: Builder::default(),
            opset,
            entries: HashMap::new(),
            constants: Vec::new(),
            label: String::new(),
            depth: 0,
            folded: 0,
        }
    }

    pub(super) fn import(
        mut self,
        graph: &GraphProto,
        bound: &BTreeMap<String, Bound>,
        outputs: &[String],
    ) -> Result<Imported, InvalidOnnx> {
        self.initialise(graph)?;
        let mut inputs = Vec::new();
        for info in &graph.input {
            let name = &info.name;
            let refuse = |reason: String| InvalidOnnx::Input {
                name: short(name),
                reason,
            };
            let entry = match bound.get(name) {
                // A weight that older files list among the inputs.
                None if self.entries.contains_key(name) => continue,
                None => return Err(refuse("nothing is said to go there".to_owned())),
                Some(Bound::Fixed(literal)) => Entry::Known(Rc::new(literal.clone()), None),
                Some(Bound::Given(shape)) => {
                    let port = wire::port(info);
                    let kind = port
                        .kind
                        .ok_or_else(|| refuse("is no tensor of numbers".to_owned()))?;
                    let of = TensorType {
                        kind,
                        shape: shape.clone(),
                    };
                    inputs.push(name.clone());
                    let value = self
                        .builder
                        .input(name, of)
                        .map_err(|invalid| refuse(invalid.reason))?;
                    Entry::Made(value)
                }
            };
            self.entries.insert(name.clone(), entry);
        }
        self.nodes(graph, outputs)?;
        let mut values = Vec::with_capacity(outputs.len());
        for name in outputs {
            self.label.clone_from(name);
            let value = self
                .entry(name)
                .and_then(|entry| self.value_of(name, entry));
            values.push(value.map_err(|reason| InvalidOnnx::Output {
                name: short(name),
                reason,
            })?);
        }
        // What is left of the others goes first, so that numbers need no copies.
        self.entries.clear();
        let own = |literal: Rc<Literal>| {
            Rc::try_unwrap(literal).unwrap_or_else(|shared| (*shared).clone())
        };
        Ok(Imported {
            program: self.builder.finish(&values),
            constants: self.constants.into_iter().map(own).collect(),
            inputs,
            outputs: outputs.to_vec(),
        })
    }

    fn initialise(&mut self, graph: &GraphProto) -> Result<(), InvalidOnnx> {
        for tensor in &graph.initializer {
            let literal = Literal::read(tensor).map_err(|reason| InvalidOnnx::Tensor {
                name: short(&tensor.name),
                reason,
            })?;
            let entry = Entry::Known(Rc::new(literal), None);
            self.entries.insert(tensor.name.clone(), entry);
        }
        Ok(())
    }

    /// Goes through the nodes that the outputs need.
    fn nodes(&mut self, graph: &GraphProto, outputs: &[String]) -> Result<(), InvalidOnnx> {
        let needed = needed(graph, outputs);
        for (number, node) in (1..).zip(&graph.node) {
            if !needed.contains(&number) {
                continue;
            }
            let name = if node.name.is_empty() {
                node.output.first().map_or("", String::as_str)
            } else {
                node.name.as_str()
            };
            let refuse = |reason: String| InvalidOnnx::Node {
                number,
                name: short(name),
                operator: short(&node.op_type),
                reason,
            };
            if !(node.domain.is_empty() || node.domain == "ai.onnx") {
                let reason = format!("the domain {:?} is not read", short(&node.domain));
                return Err(refuse(reason));
            }
            let gives = match node.op_type.as_str() {
                // A refusal within names the node within.
                "If" => self.branch(node, &refuse)?,
                _ => {
                    name.clone_into(&mut self.label);
                    self.node(node).map_err(refuse)?
                }
            };
            for (name, entry) in node.output.iter().zip(gives) {
                self.entries.insert(name.clone(), entry);
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeProto) -> Result<Vec<Entry>, String> {
        if let Some(folded) = self.fold(node)? {
            let known = |literal| Entry::Known(Rc::new(literal), None);
            return Ok(folded.into_iter().map(known).collect());
        }
        operators::apply(self, node)
    }

    /// What comes of a node of which everything is known and small.
    fn fold(&mut self, node: &NodeProto) -> Result<Option<Vec<Literal>>, String> {
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            match self.entries.get(name) {
                Some(Entry::Known(literal, _)) => operands.push(Some(Rc::clone(literal))),
                None if name.is_empty() => operands.push(None),
                _ => return Ok(None),
            }
        }
        let folded = fold::apply(node, self.opset, &operands)?;
        let numbers: usize = folded.iter().flatten().map(Literal::len).sum();
        self.folded = self.folded.saturating_add(numbers);
        if self.folded > MAX_FOLDED {
            return Err(format!(
                "more than {MAX_FOLDED} numbers would be computed of shapes"
            ));
        }
        Ok(folded)
    }

    /// The branch of an `If` that is taken: what decides it must be known.
    fn branch(
        &mut self,
        node: &NodeProto,
        refuse: &dyn Fn(String) -> InvalidOnnx,
    ) -> Result<Vec<Entry>, InvalidOnnx> {
        let condition = match node.input.first().and_then(|name| self.entries.get(name)) {
            Some(Entry::Known(literal, _)) => literal.single(),
            _ => None,
        };
        let Some(condition) = condition else {
            return Err(refuse(
                "which branch is taken depends on the numbers of an input, and that is not run: fix the input that decides it"
                    .to_owned(),
            ));
        };
        let name = if condition == 0.0 {
            "else_branch"
        } else {
            "then_branch"
        };
        let graph = Attributes(node)
            .graph(name)
            .ok_or_else(|| refuse(format!("it has no {name}")))?;
        if self.depth >= MAX_DEPTH {
            return Err(refuse(format!("graphs lie more than {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let outputs: Vec<String> = graph.output.iter().map(|info| info.name.clone()).collect();
        self.initialise(graph)?;
        self.nodes(graph, &outputs)?;
        self.depth -= 1;
        outputs
            .iter()
            .map(|name| self.entry(name).map_err(refuse))
            .collect()
    }

    fn entry(&self, name: &str) -> Result<Entry, String> {
        self.entries
            .get(name)
            .cloned()
            .ok_or_else(|| format!("{:?} is nothing that there is", short(name)))
    }

    /// Whether a node has this operand.
    pub(super) fn has(&self, node: &NodeProto, index: usize) -> bool {
        node.input.get(index).is_some_and(|name| !name.is_empty())
    }

    /// The numbers of an operand, where they are known.
    pub(super) fn known(&self, node: &NodeProto, index: usize) -> Option<Rc<Literal>> {
        match self.entries.get(node.input.get(index)?)? {
            Entry::Known(literal, _) => Some(Rc::clone(literal)),
            Entry::Made(_) => None,
        }
    }

    /// The whole numbers of an operand, which must be known: they decide shapes.
    pub(super) fn ints(
        &self,
        node: &NodeProto,
        index: usize,
        what: &str,
    ) -> Result<Vec<i64>, String> {
        let known = self.known(node, index);
        let ints = known.as_ref().and_then(|literal| literal.as_ints());
        ints.map(<[i64]>::to_vec).ok_or_else(|| {
            format!("its {what} depends on the numbers of an input, and shapes must be known")
        })
    }

    /// The type of an operand.
    pub(super) fn type_of(&self, node: &NodeProto, index: usize) -> Result<TensorType, String> {
        let name = node.input.get(index).ok_or_else(|| missing(index))?;
        Ok(match self.entry(name)? {
            Entry::Known(literal, _) => literal.of(),
            Entry::Made(value) => self.builder.type_of(value).clone(),
        })
    }

    /// An operand as a value of the program.
    pub(super) fn value(&mut self, node: &NodeProto, index: usize) -> Result<Value, String> {
        let name = node.input.get(index).ok_or_else(|| missing(index))?;
        if name.is_empty() {
            return Err(missing(index));
        }
        let entry = self.entry(name)?;
        self.value_of(name, entry)
    }

    /// All operands as values of the program, without those left out at the end.
    pub(super) fn values(&mut self, node: &NodeProto) -> Result<Vec<Value>, String> {
        let last = node.input.iter().rposition(|name| !name.is_empty());
        (0..last.map_or(0, |last| last + 1))
            .map(|index| self.value(node, index))
            .collect()
    }

    fn value_of(&mut self, name: &str, entry: Entry) -> Result<Value, String> {
        match entry {
            Entry::Made(value) | Entry::Known(_, Some(value)) => Ok(value),
            Entry::Known(literal, None) => {
                let value = self.shared(name, Rc::clone(&literal))?;
                let entry = Entry::Known(literal, Some(value));
                self.entries.insert(name.to_owned(), entry);
                Ok(value)
            }
        }
    }

    /// A constant of the program.
    pub(super) fn constant(&mut self, name: &str, literal: Literal) -> Result<Value, String> {
        self.shared(name, Rc::new(literal))
    }

    fn shared(&mut self, name: &str, literal: Rc<Literal>) -> Result<Value, String> {
        let value = self
            .builder
            .constant(name, literal.of())
            .map_err(|invalid| invalid.reason)?;
        self.constants.push(literal);
        Ok(value)
    }

    /// One number as a constant, of a value's kind.
    pub(super) fn number(&mut self, kind: Kind, value: f64) -> Result<Value, String> {
        let label = self.label.clone();
        self.constant(&label, Literal::filled(kind, &[], value))
    }

    /// Appends an operation that gives one tensor.
    pub(super) fn apply(&mut self, op: Op, reads: &[Value]) -> Result<Value, String> {
        let gives = self.apply_all(op, reads)?;
        gives
            .first()
            .copied()
            .ok_or_else(|| "it gives nothing".to_owned())
    }

    /// Appends an operation.
    pub(super) fn apply_all(&mut self, op: Op, reads: &[Value]) -> Result<Vec<Value>, String> {
        let label = self.label.clone();
        self.builder
            .apply(&label, op, reads)
            .map_err(|invalid| invalid.reason)
    }
}

fn missing(index: usize) -> String {
    format!("operand {} is missing", index + 1)
}
