//! A histogram of a column of a CSV file: `histogram FILE COLUMN BINS`.
//!
//! Prints the bars and leaves them in histogram.csv, in the folder that it begins
//! in. Compiled once, for WASI preview 1:
//!
//!   rustup target add wasm32-wasip1
//!   rustc --target wasm32-wasip1 --edition 2024 -C opt-level=z -C panic=abort \
//!     -C lto=fat -C strip=symbols histogram.rs -o histogram.wasm

use std::fmt::Write as _;

fn main() {
    if let Err(reason) = draw() {
        eprintln!("{reason}");
        std::process::exit(2);
    }
}

fn draw() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, column, bins] = args.as_slice() else {
        return Err("usage: histogram FILE COLUMN BINS".to_owned());
    };
    let bins: usize = bins.parse().map_err(|_| format!("{bins} is no number"))?;
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let at = header
        .split(',')
        .position(|name| name == column)
        .ok_or_else(|| format!("{file} has no column {column}"))?;
    let values: Vec<f64> = lines
        .filter_map(|line| line.split(',').nth(at)?.parse().ok())
        .collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = (most - least) / bins as f64;
    let mut counts = vec![0_usize; bins];
    for value in &values {
        let bin = ((value - least) / width) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    let mut table = "from,count\n".to_owned();
    for (bin, count) in counts.iter().enumerate() {
        let from = least + width * bin as f64;
        println!("{from:6.2} {}", "#".repeat(*count));
        writeln!(table, "{from:.2},{count}").map_err(|error| error.to_string())?;
    }
    std::fs::write("histogram.csv", table).map_err(|error| error.to_string())
}
