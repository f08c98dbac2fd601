//! Axes and places as ONNX counts them: from the end where they are below zero.

/// An axis of a tensor of so many.
pub(in super::super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_start = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    from_start
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| format!("axis {axis} is not one of {rank}"))
}

/// Several of them, each once, in order.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut out = list
        .iter()
        .map(|&at| axis(at, rank))
        .collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// A shape without axes of length 1: these, or all.
pub(in super::super) fn squeezed(
    shape: &[usize],
    list: Option<&[i64]>,
) -> Result<Vec<usize>, String> {
    let goes = match list {
        Some(list) => axes(list, shape.len())?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = goes.iter().find(|&&axis| shape[axis] != 1) {
        return Err(format!("axis {axis} of {shape:?} is not 1 long"));
    }
    let stays = (0..shape.len()).filter(|axis| !goes.contains(axis));
    Ok(stays.map(|axis| shape[axis]).collect())
}

/// A shape with axes of length 1 at these places of the result.
pub(in super::super) fn unsqueezed(shape: &[usize], list: &[i64]) -> Result<Vec<usize>, String> {
    let rank = shape.len() + list.len();
    let new = axes(list, rank)?;
    if new.len() != list.len() {
        return Err(format!("axes {list:?} are not all different"));
    }
    let mut old = shape.iter();
    Ok((0..rank)
        .map(|axis| {
            if new.contains(&axis) {
                1
            } else {
                old.next().copied().unwrap_or(1)
            }
        })
        .collect())
}

/// Where a slice starts and how long it is.
pub(in super::super) fn slice(
    length: usize,
    start: i64,
    end: i64,
    step: i64,
) -> Result<(usize, usize), String> {
    if step == 0 || step == i64::MIN {
        return Err(format!("a step of {step}"));
    }
    let long = length as i64;
    let from_start = |place: i64| {
        if place < 0 {
            place.saturating_add(long)
        } else {
            place
        }
    };
    let (low, high) = if step > 0 { (0, long) } else { (-1, long - 1) };
    let clamped = |place: i64| from_start(place).clamp(low, high);
    let start = if step > 0 {
        clamped(start)
    } else {
        from_start(start).clamp(0, (long - 1).max(0))
    };
    // An end far below zero is before the first place.
    let end = clamped(end);
    let places = if step > 0 {
        (end - start + step - 1).div_euclid(step)
    } else {
        (start - end - step - 1).div_euclid(-step)
    };
    Ok((start as usize, usize::try_from(places).unwrap_or(0)))
}
