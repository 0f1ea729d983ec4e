//! Rows under a head, each column as wide as its widest cell.

use std::io::{self, Write};

/// Prints them.
pub(super) fn print<const N: usize>(out: &mut dyn Write, head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> io::Result<()> {
    let rows: Vec<_> = [head.map(ToOwned::to_owned)].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    for row in &rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}
