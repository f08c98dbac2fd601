//! Which layers read which. A layer reads earlier ones only, so that there is
//! no cycle, and whoever computes goes through them once, in their order.

use super::{INPUT, InvalidModel, MAX_INPUTS, Model, names};

/// How close a name must be to be suggested (Jaro-Winkler).
const LIKENESS: f64 = 0.8;

/// Where a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The model's input.
    Input,
    /// What the layer with this index gives.
    Layer(usize),
}

/// What each layer reads. Every layer but the last is read by one after it.
pub(super) fn sources(model: &Model, names: &[String]) -> Result<Vec<Vec<Source>>, InvalidModel> {
    let mut sources = Vec::with_capacity(names.len());
    let mut is_read = vec![false; names.len()];
    for (index, (layer, name)) in model.layers.iter().zip(names).enumerate() {
        let read = names::check(name, &names[..index])
            .and_then(|()| read(index, &layer.from, names))
            .map_err(|reason| InvalidModel::layer(index, name, reason))?;
        for source in &read {
            if let Source::Layer(earlier) = source {
                is_read[*earlier] = true;
            }
        }
        sources.push(read);
    }
    let last = names.len() - 1;
    match is_read[..last].iter().position(|is_read| !is_read) {
        None => Ok(sources),
        Some(index) => Err(InvalidModel::layer(
            index,
            &names[index],
            format!(
                "no layer reads what it gives, and the output is the last layer \"{}\": name it in the `from` of a later layer, or take it out",
                names[last]
            ),
        )),
    }
}

fn read(index: usize, from: &[String], names: &[String]) -> Result<Vec<Source>, String> {
    if from.is_empty() {
        return Ok(vec![match index.checked_sub(1) {
            None => Source::Input,
            Some(before) => Source::Layer(before),
        }]);
    }
    if from.len() > MAX_INPUTS {
        return Err(format!(
            "reads {} layers, of {MAX_INPUTS} allowed: join some of them first",
            from.len()
        ));
    }
    from.iter()
        .map(|wanted| find(index, wanted, names))
        .collect()
}

fn find(index: usize, wanted: &str, names: &[String]) -> Result<Source, String> {
    if wanted == INPUT {
        return Ok(Source::Input);
    }
    match names.iter().position(|name| name == wanted) {
        Some(earlier) if earlier < index => Ok(Source::Layer(earlier)),
        Some(same) if same == index => Err(
            "reads itself, which would never end: name an earlier layer in its `from`".to_owned(),
        ),
        Some(_) => Err(format!(
            "reads \"{wanted}\", which comes after it: put that layer before this one; a cycle cannot be computed"
        )),
        None => Err(unknown(wanted, &names[..index])),
    }
}

fn unknown(wanted: &str, before: &[String]) -> String {
    let shown: String = wanted.chars().take(64).collect();
    let closest = before
        .iter()
        .map(|name| (strsim::jaro_winkler(&shown, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((_, name)) => {
            format!("reads {shown:?}, and no layer has that name: did you mean \"{name}\"?")
        }
        None => format!(
            "reads {shown:?}, and no layer has that name: name an earlier layer, or `{INPUT}`"
        ),
    }
}
